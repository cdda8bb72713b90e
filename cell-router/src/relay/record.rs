//! What is counted and traced of a pass, however it ends.

use crate::{
    brain::Brain,
    method::{Method, Stats},
    pass::Place,
    trace::{ServerSpan, Tracing},
};
use http::HeaderMap;
use std::{
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::Instant,
};
use tonic::Code;

/// One pass, counted when it is dropped: as CANCELLED if nobody said otherwise.
pub(super) struct Record<'b> {
    in_flight: &'b AtomicUsize,
    stats: &'b Stats,
    started: Instant,
    code: Code,
    /// Its span, if it is traced.
    pub(super) span: Option<ServerSpan>,
}

impl<'b> Record<'b> {
    pub(super) fn begin(
        brain: &'b Brain,
        tracing: &Tracing,
        path: &str,
        method: Option<&'b Method>,
        headers: &HeaderMap,
        started: Instant,
    ) -> Self {
        let in_flight = method.map_or(&brain.in_flight, |method| brain.counted(method));
        let stats = method.map_or(&brain.methods.unknown, |method| &method.stats);
        in_flight.fetch_add(1, Relaxed);
        Self { in_flight, stats, started, code: Code::Cancelled, span: tracing.server(path, headers) }
    }

    /// Where the pass was served.
    pub(super) fn served(&mut self, brain: &Brain, place: &Place) {
        if let Some(span) = &mut self.span {
            span.served(brain, place);
        }
    }

    /// How the pass ended.
    pub(super) fn ended(&mut self, code: Code) {
        self.code = code;
    }
}

impl Drop for Record<'_> {
    fn drop(&mut self) {
        self.in_flight.fetch_sub(1, Relaxed);
        self.stats.ended(self.code, self.started.elapsed());
        if let Some(span) = self.span.take() {
            span.end(self.code);
        }
    }
}
