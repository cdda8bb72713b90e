//! The tower layers of a service, made of this crate's functions. From the outside in:
//!
//! 1. [`observe`]: one span and one record of each call, also of refused, cancelled and panicked ones;
//! 2. [`calls`]: admission, deadline, panic guard, ownership answers;
//! 3. [`limit`]: calls at once;
//! 4. [`message`]: the one message of a unary call, checked before any handler runs.

pub mod calls;
pub mod limit;
pub mod message;
pub mod observe;

mod answer;
mod methods;

pub use methods::{Method, MethodRules, Methods};

use futures_util::future::BoxFuture;
use std::{
    convert::Infallible,
    task::{Context, Poll},
};
use tonic::body::Body;
use tower::util::ServiceExt;
use tower_layer::Layer;
use tower_service::Service;

/// A gRPC request on its way in.
pub type Request = http::Request<Body>;
/// A gRPC response on its way out.
pub type Response = http::Response<Body>;

/// What stands below a layer: a service that always answers.
pub trait Next:
    Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + Sync + 'static
{
    /// Its answer.
    fn answer(self, request: Request) -> impl Future<Output = Response> + Send {
        async move {
            let Ok(response) = self.oneshot(request).await;
            response
        }
    }
}

impl<S> Next for S where
    S: Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + Sync + 'static
{
}

/// A layer as an `async fn`: gets a request and what stands below, gives the response.
pub trait Around: Clone + Send + Sync + 'static {
    /// Answers, usually by asking `next`.
    fn around<N: Next>(self, request: Request, next: N) -> impl Future<Output = Response> + Send;
}

/// Marks a response on its way out: the request could not be read, whatever it was to say. Callers learn it by
/// [`MALFORMED`](crate::metadata::MALFORMED).
#[derive(Clone, Copy, Debug)]
struct Malformed;

/// An [`Around`] as a tower layer.
#[derive(Clone, Copy, Debug)]
pub struct AroundLayer<A>(pub A);

impl<A: Clone, S> Layer<S> for AroundLayer<A> {
    type Service = AroundService<A, S>;

    fn layer(&self, next: S) -> Self::Service {
        AroundService { around: self.0.clone(), next }
    }
}

/// An [`Around`] in front of a service.
#[derive(Clone, Copy, Debug)]
pub struct AroundService<A, S> {
    around: A,
    next: S,
}

impl<A: Around, S: Next> Service<Request> for AroundService<A, S> {
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // What is below is made ready inside of the future, on its own clone.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let (around, next) = (self.around.clone(), self.next.clone());
        Box::pin(async move { Ok(around.around(request, next).await) })
    }
}

#[cfg(test)]
mod tests;
