//! W3C trace context between headers and spans.
//!
//! Spans of the mesh have target [`TARGET`]; where no OpenTelemetry layer listens they are disabled, and the headers
//! that came in are passed on untouched.

use crate::{
    call::{CallContext, TraceHeaders},
    metadata::{TRACEPARENT, TRACESTATE},
};
use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::{
    Context, global,
    propagation::{Extractor, Injector},
};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// Target of every span that is exported.
pub const TARGET: &str = "cellmesh::span";

struct Headers<'a>(&'a HeaderMap);
struct HeadersMut<'a>(&'a mut HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

impl Injector for HeadersMut<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(key), HeaderValue::try_from(value)) {
            self.0.insert(name, value);
        }
    }
}

/// Makes the span a child of the trace that the headers name.
pub fn continue_from(span: &Span, headers: &HeaderMap) {
    if span.is_disabled() || !headers.contains_key(TRACEPARENT) {
        return;
    }
    let parent = global::get_text_map_propagator(|propagator| propagator.extract(&Headers(headers)));
    set_parent(span, parent);
}

/// Makes the span a child of the trace that a stored `traceparent` names.
pub fn continue_from_text(span: &Span, traceparent: &str) {
    if let Ok(value) = HeaderValue::try_from(traceparent) {
        continue_from(span, &HeaderMap::from_iter([(TRACEPARENT, value)]));
    }
}

fn set_parent(span: &Span, parent: Context) {
    // It fails only where no OpenTelemetry layer listens; then there is nothing to link.
    let _ = span.set_parent(parent);
}

/// Writes the span's trace context into the headers, or what came with the current call where the span is disabled.
pub fn write(span: &Span, headers: &mut HeaderMap) {
    if !span.is_disabled() {
        let context = span.context();
        global::get_text_map_propagator(|propagator| propagator.inject_context(&context, &mut HeadersMut(headers)));
        if headers.contains_key(TRACEPARENT) {
            return;
        }
    }
    if let Some(Some(trace)) = CallContext::with_current(|call| call.trace().cloned()) {
        write_as_it_came(&trace, headers);
    }
}

fn write_as_it_came(trace: &TraceHeaders, headers: &mut HeaderMap) {
    headers.insert(TRACEPARENT, trace.parent.clone());
    match &trace.state {
        Some(state) => headers.insert(TRACESTATE, state.clone()),
        None => headers.remove(TRACESTATE),
    };
}

/// The `traceparent` to store beside what this call leaves behind (an outbox row), if there is a trace.
#[must_use]
pub fn current_traceparent() -> Option<String> {
    let mut headers = HeaderMap::new();
    write(&Span::current(), &mut headers);
    headers.get(TRACEPARENT)?.to_str().ok().map(str::to_owned)
}
