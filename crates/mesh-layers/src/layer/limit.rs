//! Calls at once. Who comes too much is refused at once, before any work, instead of queueing.

use super::{Around, Methods, Next, Request, Response};
use crate::{CallContext, MeshError};
use std::{sync::Arc, time::Duration};
use tokio::sync::Semaphore;

/// At most so many calls at once, streams counted until their end.
#[derive(Clone, Debug)]
pub struct Limit {
    calls: Arc<Semaphore>,
    streams: Option<Streams>,
}

#[derive(Clone, Debug)]
struct Streams {
    methods: Arc<Methods>,
    others: Arc<Semaphore>,
    global: Arc<Semaphore>,
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

    /// Counts server streams of these methods apart: they last, and must not take the places of calls. As many may be open
    /// of global methods besides: users' streams must not take the places of those that other cells live by.
    #[must_use]
    pub fn with_streams(self, streams: usize, methods: Arc<Methods>) -> Self {
        Self { streams: Some(Streams { methods, others: permits(streams), global: permits(streams) }), ..self }
    }

    /// What a call of this method is counted against.
    fn of(self, path: &str) -> (Arc<Semaphore>, &'static str) {
        if let Some(Streams { methods, others, global }) = self.streams
            && let Some(method) = methods.get(path).filter(|method| method.rules.server_streaming)
        {
            return (if method.rules.global { global } else { others }, "too many streams at once");
        }
        (self.calls, "too many calls at once")
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
