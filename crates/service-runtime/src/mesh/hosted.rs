//! The services of this process, for callers in it that route by themselves.

use super::{MeshChannel, answer};
use cell_map::CellId;
use futures_util::future::BoxFuture;
use mesh_layers::{
    MeshError, Reason,
    layer::{Request, Response},
    metadata::PEER_TOKEN,
};
use std::{
    convert::Infallible,
    sync::PoisonError,
    task::{Context, Poll},
};

/// The services of this process under all their layers, as a tower service for a caller within it, such as the client
/// SDK. The caller is believed as a peer is, and gets the answers of ownership as they are. Cheap to clone; once the
/// drain has ended everything is UNAVAILABLE.
#[derive(Clone, Debug)]
pub struct Hosted(pub(crate) MeshChannel);

impl Hosted {
    /// The cell that they serve.
    #[must_use]
    pub fn cell(&self) -> &CellId {
        &self.0.0.cell
    }

    /// Their full names.
    #[must_use]
    pub fn services(&self) -> Vec<&'static str> {
        let local = self.0.0.local.read().unwrap_or_else(PoisonError::into_inner);
        local.as_ref().map(|(_, services)| services.clone()).unwrap_or_default()
    }
}

impl tower::Service<Request> for Hosted {
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let local = self.0.0.local.read().unwrap_or_else(PoisonError::into_inner);
        let local = local.as_ref().map(|(local, _)| local.clone());
        request.headers_mut().insert(PEER_TOKEN, self.0.token().header());
        Box::pin(async move {
            Ok(match local {
                Some(local) => answer(local, request).await,
                None => MeshError::new(Reason::Unavailable, "the services of this process have ended").into_http(),
            })
        })
    }
}
