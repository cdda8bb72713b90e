//! The client span of each attempt (OpenTelemetry's RPC conventions).

use super::{
    answer::Answer,
    job::{Job, names},
    world::{Place, Target},
};
use mesh_layers::trace::TARGET;
use tracing::{Span, field::Empty};

/// A span of an attempt; disabled where nobody listens.
pub(super) fn attempt(job: &Job<'_>, place: &Place, number: u8) -> Span {
    let (service, method) = names(job.path.path());
    let span = tracing::info_span!(
        target: TARGET,
        "client",
        otel.name = Empty,
        otel.kind = "client",
        otel.status_code = Empty,
        rpc.system = "grpc",
        rpc.service = service,
        rpc.method = method,
        rpc.grpc.status_code = Empty,
        cell.id = Empty,
        cell.home = Empty,
        cell.hops = Empty,
        cell.map_epoch = Empty,
        cell.way = Empty,
        cell.attempt = number,
    );
    if !span.is_disabled() {
        span.record("otel.name", format!("{service}/{method}"));
        if let Some(cell) = &place.tally.cell {
            span.record("cell.home", cell.as_str());
        }
        if let Some(epoch) = place.epoch.as_ref().and_then(|epoch| epoch.to_str().ok()) {
            span.record("cell.map_epoch", epoch);
        }
        let way = match &place.target {
            Some(Target::Inside(_)) => "inside",
            Some(Target::Instance(_)) => "direct",
            Some(Target::Router(_)) => "router",
            None => "none",
        };
        span.record("cell.way", way);
    }
    span
}

/// Notes how it went; `None`: no response, or not to its end.
pub(super) fn ended(span: &Span, place: &Place, answer: Option<&Answer<'_>>) {
    if span.is_disabled() {
        return;
    }
    if let Some(answer) = answer {
        if let Some(cell) = answer.cell(&place.tally) {
            span.record("cell.id", cell.as_str());
        }
        span.record("cell.hops", answer.hops());
        if let Some(code) = answer.code() {
            span.record("rpc.grpc.status_code", code);
        }
    }
    // A head without a status begins a stream: how that ends is its reader's to see.
    let ok = answer.is_some_and(|answer| answer.is_ok() || answer.code().is_none());
    if !ok {
        span.record("otel.status_code", "ERROR");
    }
}
