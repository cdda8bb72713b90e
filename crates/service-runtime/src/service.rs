//! What a service brings.

use crate::{context::Context, outbox::Consumer};
use axum::response::IntoResponse;
use std::{convert::Infallible, fmt, future::Future, pin::Pin, sync::Arc};
use storage::{Migration, UserData};
use tonic::{
    body::Body,
    server::NamedService,
    service::{Routes, RoutesBuilder},
};

/// A service: its domain, its store and its gRPC adapter. Everything else comes from the runtime.
pub trait Service: Send + Sync + 'static {
    /// Its name, also that of its section in the configuration.
    fn name(&self) -> &'static str;

    /// Its protos with everything they import, as an encoded `FileDescriptorSet` that kept the custom options.
    fn descriptor_set(&self) -> &'static [u8];

    /// Its tables, oldest migration first.
    fn migrations(&self) -> Vec<Migration> {
        Vec::new()
    }

    /// What moves with a user: together they cover every table with a column `user_key` (OWN-13).
    fn participants(&self) -> Vec<Arc<dyn UserData>> {
        Vec::new()
    }

    /// Builds it. Runs before anything is served; long work belongs into a task, behind a [`gate`](crate::Gate).
    ///
    /// # Errors
    /// Whatever keeps the service from starting; the process then ends.
    fn start(&self, context: &Context, parts: &mut Parts) -> Result<(), Box<dyn std::error::Error + Send + Sync>>;
}

pub(crate) type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What a service consists of once it is built.
#[derive(Default)]
pub struct Parts {
    pub(crate) routes: RoutesBuilder,
    pub(crate) names: Vec<&'static str>,
    pub(crate) tasks: Vec<(&'static str, Task)>,
    pub(crate) consumers: Vec<Consumer>,
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").field("names", &self.names).finish_non_exhaustive()
    }
}

impl Parts {
    /// Serves a generated gRPC server, like `MemberServiceServer::new(…)`. Message limits come from its policy.
    pub fn serve<S>(&mut self, server: S)
    where
        S: tower::Service<http::Request<Body>, Error = Infallible> + NamedService + Clone + Send + Sync + 'static,
        S::Response: IntoResponse,
        S::Future: Send + 'static,
    {
        self.names.push(S::NAME);
        self.routes.add_service(server);
    }

    /// Runs a future beside the calls. It watches [`Context::shutdown`] and ends soon after; what has not ended when
    /// the drain is over is dropped. A task that panics ends the process.
    pub fn task(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.push((name, Box::pin(task)));
    }

    /// Delivers events of the outbox.
    pub fn consume(&mut self, consumer: Consumer) {
        self.consumers.push(consumer);
    }

    pub(crate) fn into_routes(self) -> Routes {
        self.routes.routes()
    }
}
