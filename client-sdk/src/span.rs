//! Spans of calls that stay inside: without them a dashboard shows traffic that "drops" (a call on the wire has a span of
//! its own).

use crate::{Error, Mesh, MethodPolicy};
use tracing::{Span, field::Empty};

/// The span of the `nth` call that this rung answers, if it is sampled; a disabled one, at no cost, where nobody listens.
pub(crate) fn inside(mesh: &Mesh, nth: u64, policy: &MethodPolicy, source: &'static str) -> Span {
    let every = u64::from(mesh.settings().span_every);
    if every == 0 || !nth.is_multiple_of(every) {
        return Span::none();
    }
    let name = policy.path.trim_start_matches('/');
    let (service, method) = name.split_once('/').unwrap_or((name, ""));
    tracing::info_span!(
        target: mesh_layers::trace::TARGET,
        "client",
        otel.name = name,
        otel.kind = "client",
        otel.status_code = Empty,
        rpc.system = "grpc",
        rpc.service = service,
        rpc.method = method,
        rpc.grpc.status_code = Empty,
        cellmesh.source = source,
    )
}

/// Notes how it ended.
pub(crate) fn end<T>(span: &Span, answer: &Result<T, Error>) {
    if span.is_disabled() {
        return;
    }
    let code = answer.as_ref().map_or_else(|error| error.code().number(), |_| 0);
    span.record("rpc.grpc.status_code", code);
    if code != 0 {
        span.record("otel.status_code", "ERROR");
    }
}

#[cfg(test)]
mod tests;
