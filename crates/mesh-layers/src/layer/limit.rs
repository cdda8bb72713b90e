//! Calls at once. Who comes too much is refused at once, before any work, instead of queueing.

use super::{Around, Next, Request, Response};
use crate::{CallContext, MeshError};
use std::{sync::Arc, time::Duration};
use tokio::sync::Semaphore;

/// At most so many calls at once, streams counted until their end.
#[derive(Clone, Debug)]
pub struct Limit(Arc<Semaphore>);

impl Limit {
    /// A limit shared by all clones.
    #[must_use]
    pub fn new(calls: usize) -> Self {
        Self(Arc::new(Semaphore::new(calls.min(Semaphore::MAX_PERMITS))))
    }
}

impl Around for Limit {
    async fn around<N: Next>(self, request: Request, next: N) -> Response {
        let Ok(permit) = self.0.try_acquire_owned() else {
            return MeshError::rate_limited("too many calls at once", Duration::from_millis(100)).into_http();
        };
        match request.extensions().get::<CallContext>() {
            // A stream outlives this future; its call is dropped at its end.
            Some(call) => {
                call.keep(permit);
                next.answer(request).await
            }
            None => {
                let response = next.answer(request).await;
                drop(permit);
                response
            }
        }
    }
}
