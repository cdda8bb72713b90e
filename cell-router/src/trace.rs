//! Spans of passes and attempts, made by OpenTelemetry's API directly and only where traces are exported and sampled:
//! otherwise a pass costs one branch, and the caller's `traceparent` goes on untouched.

use crate::{brain::Brain, pass::Place};
use http::{HeaderMap, HeaderValue};
use mesh_layers::metadata::{TRACEPARENT, TRACESTATE};
use opentelemetry::{
    Context, KeyValue, SpanId, TraceFlags, TraceId,
    global::{self, BoxedSpan, BoxedTracer},
    trace::{Span as _, SpanContext, SpanKind, Status, TraceContextExt as _, TraceState, Tracer as _},
};
use tonic::Code;

/// Makes spans, if traces are exported.
pub struct Tracing(Option<BoxedTracer>);

impl std::fmt::Debug for Tracing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Tracing").field(&self.0.is_some()).finish()
    }
}

/// The span of one pass.
pub struct ServerSpan {
    span: BoxedSpan,
    path: Box<str>,
}

/// The span of one attempt. It ends when dropped: as one without a response, if nobody said otherwise.
pub struct ClientSpan {
    span: BoxedSpan,
    code: Option<Code>,
}

impl Tracing {
    /// By the process's tracer provider, if `enabled`.
    #[must_use]
    pub fn new(enabled: bool) -> Self {
        Self(enabled.then(|| global::tracer("cell-router")))
    }

    /// The span of a pass that begins, if it is sampled.
    #[must_use]
    pub fn server(&self, path: &str, headers: &HeaderMap) -> Option<ServerSpan> {
        let tracer = self.0.as_ref()?;
        let parent =
            remote_parent(headers).map_or_else(Context::new, |parent| Context::new().with_remote_span_context(parent));
        let name = format!("router {path}");
        let span = tracer.span_builder(name).with_kind(SpanKind::Server).with_attributes(rpc(path));
        let span = span.start_with_context(tracer, &parent);
        span.is_recording().then(|| ServerSpan { span, path: path.into() })
    }
}

impl ServerSpan {
    /// The span of an attempt, whose context is written into the attempt's headers.
    #[must_use]
    pub fn attempt(
        &self,
        tracing: &Tracing,
        place: &Place,
        brain: &Brain,
        headers: &mut HeaderMap,
    ) -> Option<ClientSpan> {
        let tracer = tracing.0.as_ref()?;
        let parent = Context::new().with_remote_span_context(self.span.span_context().clone());
        let mut attributes = rpc(&self.path);
        attributes.extend(cells(brain, place));
        let name = self.path.trim_start_matches('/').to_owned();
        let span = tracer.span_builder(name).with_kind(SpanKind::Client).with_attributes(attributes);
        let span = span.start_with_context(tracer, &parent);
        inject(span.span_context(), headers);
        Some(ClientSpan { span, code: None })
    }

    /// Notes where the call was served.
    pub fn served(&mut self, brain: &Brain, place: &Place) {
        self.span.set_attributes(cells(brain, place));
    }

    /// Ends it with the status of the pass.
    pub fn end(mut self, code: Code) {
        finish(&mut self.span, Some(code), is_our_fault(code));
    }
}

impl ClientSpan {
    /// Ends it with the status of the response; none if it did not come, or not to its end.
    pub fn end(mut self, code: Option<Code>) {
        self.code = code;
    }
}

impl Drop for ClientSpan {
    fn drop(&mut self) {
        let failed = self.code.is_none_or(|code| code != Code::Ok);
        finish(&mut self.span, self.code, failed);
    }
}

fn finish(span: &mut BoxedSpan, code: Option<Code>, failed: bool) {
    if let Some(code) = code {
        span.set_attribute(KeyValue::new("rpc.grpc.status_code", code as i64));
    }
    if failed {
        span.set_status(Status::error(code.map_or("no response", |code| code.description())));
    }
    span.end();
}

/// OpenTelemetry's RPC conventions: on the server's side only these codes are errors.
const fn is_our_fault(code: Code) -> bool {
    matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    )
}

fn cells(brain: &Brain, place: &Place) -> [KeyValue; 4] {
    [
        KeyValue::new("cell.id", brain.worlds.here().to_string()),
        KeyValue::new("cell.home", place.way(brain).id.to_string()),
        KeyValue::new("cell.map_epoch", i64::try_from(place.world.map.epoch().get()).unwrap_or(i64::MAX)),
        KeyValue::new("cell.hops", i64::from(place.believed.hops)),
    ]
}

fn rpc(path: &str) -> Vec<KeyValue> {
    let (service, method) = path.trim_start_matches('/').split_once('/').unwrap_or((path, ""));
    vec![
        KeyValue::new("rpc.system", "grpc"),
        KeyValue::new("rpc.service", service.to_owned()),
        KeyValue::new("rpc.method", method.to_owned()),
    ]
}

/// The caller's span, from W3C `traceparent` and `tracestate`.
fn remote_parent(headers: &HeaderMap) -> Option<SpanContext> {
    let text = headers.get(TRACEPARENT)?.to_str().ok()?;
    let mut parts = text.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let lengths = version.len() == 2 && trace.len() == 32 && span.len() == 16 && flags.len() == 2;
    if !lengths || version == "ff" || (version == "00" && parts.next().is_some()) {
        return None;
    }
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()? & 1);
    let state = headers.get(TRACESTATE).and_then(|state| state.to_str().ok()?.parse::<TraceState>().ok());
    let (trace, span) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
    let context = SpanContext::new(trace, span, flags, true, state.unwrap_or_default());
    context.is_valid().then_some(context)
}

fn inject(context: &SpanContext, headers: &mut HeaderMap) {
    let flags = context.trace_flags() & TraceFlags::SAMPLED;
    let text = format!("00-{}-{}-{:02x}", context.trace_id(), context.span_id(), flags.to_u8());
    if let Ok(value) = HeaderValue::try_from(text) {
        headers.insert(TRACEPARENT, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parent(value: &'static str) -> Option<SpanContext> {
        remote_parent(&HeaderMap::from_iter([(TRACEPARENT, HeaderValue::from_static(value))]))
    }

    #[test]
    fn a_traceparent_is_read_and_written_alike() {
        let value = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let context = parent(value).expect("well formed");
        assert!(context.is_sampled() && context.is_remote());
        let mut headers = HeaderMap::new();
        inject(&context, &mut headers);
        assert_eq!(headers[TRACEPARENT], value);
    }

    #[test]
    fn a_malformed_traceparent_is_no_parent() {
        for value in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
            "00-0af7651916cd43dd8448eb211c80319g-b7ad6b7169203331-01",
            "0-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-001",
        ] {
            assert!(parent(value).is_none(), "{value:?}");
        }
    }

    #[test]
    fn nothing_is_traced_when_export_is_off() {
        assert!(Tracing::new(false).server("/a.B/C", &HeaderMap::new()).is_none());
    }
}
