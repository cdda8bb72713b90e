//! The accept loop of gRPC listeners: HTTP/2 over plain TCP, with limits of our own.
//!
//! tonic's server sets no stream limit and switches hyper's limit of error resets off; here both are on. A connection
//! that sends no preface, that nobody uses, or that is old, is closed; a drain tells every caller by GOAWAY and waits.

mod connection;
mod preface;

use crate::{config::LimitsConfig, metrics::Metrics};
use mesh_layers::{budget::ByteBudget, layer::Next, trust::Listener};
use std::{io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// What one listener serves, and how.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Whose connections these are.
    pub listener: Listener,
    /// Its limits.
    pub limits: LimitsConfig,
    /// Bytes of requests that the process may hold; each connection gets a share.
    pub budget: ByteBudget,
    /// Where connections are counted.
    pub metrics: Metrics,
}

/// A running listener. Dropping it drops every connection.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    drain: CancellationToken,
    abort: CancellationToken,
    tasks: TaskTracker,
}

impl Server {
    /// Serves a service on a bound listener.
    ///
    /// # Errors
    /// If the listener has no address.
    pub fn start(listener: TcpListener, service: impl Next, options: ServerOptions) -> io::Result<Self> {
        let server = Self {
            address: listener.local_addr()?,
            drain: CancellationToken::new(),
            abort: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        let shared = Arc::new(connection::Shared {
            slots: Arc::new(Semaphore::new(options.limits.connections)),
            options,
            drain: server.drain.clone(),
            abort: server.abort.clone(),
            tasks: server.tasks.clone(),
        });
        server.tasks.spawn(accept(listener, service, shared, server.tasks.clone()));
        Ok(server)
    }

    /// The bound address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops accepting, sends GOAWAY, waits for running calls for at most `grace`, then drops what is left. Returns
    /// whether every call ended by itself. Cancel-safe: the drain goes on.
    pub async fn drain(&self, grace: Duration) -> bool {
        self.drain.cancel();
        self.tasks.close();
        let ended = tokio::time::timeout(grace, self.tasks.wait()).await.is_ok();
        self.abort.cancel();
        self.tasks.wait().await;
        ended
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.drain.cancel();
        self.abort.cancel();
    }
}

async fn accept<S: Next>(listener: TcpListener, service: S, shared: Arc<connection::Shared>, tasks: TaskTracker) {
    loop {
        let accepted = tokio::select! {
            () = shared.drain.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, mostly: trying again at once would only burn the CPU.
                tracing::warn!(listener = shared.options.listener.as_str(), %error, "cannot accept");
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        match Arc::clone(&shared.slots).try_acquire_owned() {
            Ok(slot) => {
                let serving = connection::serve(stream, service.clone(), Arc::clone(&shared));
                tasks.spawn(async move {
                    serving.await;
                    drop(slot);
                });
            }
            Err(_) => shared.options.metrics.refused_connection(shared.options.listener.as_str(), "too_many"),
        }
    }
}
