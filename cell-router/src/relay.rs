//! The data path: moves the bytes of calls and decides nothing. Another relay may take this one's place, as long as it asks
//! [`crate::head::admit`] at a request's head, [`crate::keys::keys`] at its message and [`crate::pass::Pass`] after that.

mod answer;
mod call;
mod connection;
mod own;
mod pump;
mod record;
mod request;
mod split;

use crate::worker::Worker;
use mesh_layers::Listener;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

/// What a connection's bytes come and go by.
pub trait Socket: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Socket for S {}

/// Serves the connections of one worker.
pub trait Relay: Clone + Send + Sync + 'static {
    /// Serves one connection until it ends. After `drain` is cancelled it takes no new calls and ends with the last.
    fn serve(
        &self,
        worker: Arc<Worker>,
        socket: impl Socket,
        listener: Listener,
        drain: CancellationToken,
    ) -> impl Future<Output = ()> + Send;
}

/// Relays HTTP/2 streams by the h2 crate. One task drives a connection and all its calls.
#[derive(Clone)]
pub struct StreamRelay {
    own: Routes,
}

impl StreamRelay {
    /// `own` are the services that the router answers itself.
    #[must_use]
    pub fn new(own: Routes) -> Self {
        Self { own }
    }
}

impl Relay for StreamRelay {
    async fn serve(&self, worker: Arc<Worker>, socket: impl Socket, listener: Listener, drain: CancellationToken) {
        connection::serve(&worker, &self.own, socket, listener, drain).await;
    }
}
