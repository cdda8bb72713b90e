//! Calls at once. Who comes too much is refused at once, before any work, instead of queueing.

use super::{Around, Methods, Next, Request, Response};
use crate::{CallContext, MeshError};
use std::{sync::Arc, time::Duration};
use tokio::sync::Semaphore;

/// At most so many calls at once, streams counted until their end.
#[derive(Clone, Debug)]
pub struct Limit {
    calls: Arc<Semaphore>,
    streams: Option<(Arc<Semaphore>, Arc<Methods>)>,
}

fn permits(permits: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)))
}

impl Limit {
    /// A limit shared by all clones.
    #[must_use]
    pub fn new(calls: usize) -> Self {
        Self { calls: permits(calls), streams: None }
    }

    /// Counts server streams of these methods apart: they last, and must not take the places of calls.
    #[must_use]
    pub fn with_streams(self, streams: usize, methods: Arc<Methods>) -> Self {
        Self { streams: Some((permits(streams), methods)), ..self }
    }

    /// What a call of this method is counted against.
    fn of(self, path: &str) -> (Arc<Semaphore>, &'static str) {
        let is_stream = |methods: &Methods| methods.get(path).is_some_and(|method| method.rules.server_streaming);
        match self.streams {
            Some((streams, methods)) if is_stream(&methods) => (streams, "too many streams at once"),
            _ => (self.calls, "too many calls at once"),
        }
    }
}

impl Around for Limit {
    async fn around<N: Next>(self, request: Request, next: N) -> Response {
        let (permits, refusal) = self.of(request.uri().path());
        let Ok(permit) = permits.try_acquire_owned() else {
            return MeshError::rate_limited(refusal, Duration::from_millis(100)).into_http();
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
