//! Settling what a handler answered: ownership answers that the fence gave, and no others (OWN-9).

use super::{Malformed, Response, calls::panicked};
use crate::{
    CallContext, MeshError, Reason,
    call::Refusal,
    error::{Details, WrongCell},
    metadata::{GRPC_MESSAGE, GRPC_STATUS, GRPC_STATUS_DETAILS, MALFORMED, PREFIX, UNPROCESSED},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Frame, SizeHint};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::time::{Sleep, sleep_until};
use tonic::{Code, Status, body::Body};

/// What prost says when a message does not decode, by which tonic's INTERNAL is told from a handler's.
const UNDECODABLE: &str = "failed to decode Protobuf message";

/// When a status came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Instead of a body.
    TrailersOnly,
    /// After messages were sent.
    Trailers,
}

/// Settles the head, and sees to it that the body's trailers, deadline and panics are settled too.
pub(super) fn settle(call: &CallContext, mut response: Response) -> Response {
    strip(response.headers_mut());
    if response.extensions_mut().remove::<Malformed>().is_some() {
        mark(response.headers_mut());
    }
    if response.headers().contains_key(GRPC_STATUS) {
        // Kept by tonic beside the headers, where it would speak of what we may just have replaced.
        response.extensions_mut().remove::<Status>();
        settle_status(call, response.headers_mut(), Stage::TrailersOnly);
        return response;
    }
    let call = call.clone();
    response.map(|body| Body::new(SettledBody { call, body, late: None, done: false }))
}

/// Says that the request could not be read: who sends many such is cut off.
pub(super) fn mark(headers: &mut HeaderMap) {
    headers.insert(MALFORMED, HeaderValue::from_static("1"));
}

/// Names of the mesh are the runtime's to set: business code cannot.
fn strip(headers: &mut HeaderMap) {
    let ours = |name: &&HeaderName| name.as_str().starts_with(PREFIX);
    while let Some(name) = headers.keys().find(ours).cloned() {
        headers.remove(name);
    }
}

fn settle_status(call: &CallContext, headers: &mut HeaderMap, stage: Stage) {
    let code = headers.get(GRPC_STATUS).map_or(Code::Unknown, |value| Code::from_bytes(value.as_bytes()));
    if code == Code::Ok {
        return;
    }
    let details = Details::from_headers(headers);
    match details.as_ref().and_then(Details::mesh_reason) {
        Some(reason) if reason.is_reserved() => {
            let details = details.as_ref().expect("a reason stands in details");
            settle_ownership(call, headers, stage, reason, details);
        }
        Some(_) => {}
        None if headers.contains_key(GRPC_STATUS_DETAILS) => {}
        None => explain(code, headers),
    }
}

/// A status without details gets an ErrorInfo; a message that did not decode is the caller's fault, not ours.
fn explain(code: Code, headers: &mut HeaderMap) {
    let message = message(headers);
    if code == Code::Internal && message.starts_with(UNDECODABLE) {
        replace(headers, MeshError::bad_request(message));
        return mark(headers);
    }
    replace(headers, MeshError::new(Reason::of_code(code), message).with_code(code));
}

fn settle_ownership(call: &CallContext, headers: &mut HeaderMap, stage: Stage, reason: Reason, details: &Details) {
    let redirect = WrongCell::from_details(details);
    let refusal = match reason {
        Reason::WrongCell => redirect.clone().map(Refusal::WrongCell),
        Reason::Moving => Some(Refusal::Moving),
        _ => None,
    };
    if !refusal.is_some_and(|refusal| call.was_refused(&refusal)) {
        tracing::error!(
            rpc.path = call.path(),
            reason = reason.as_str(),
            "handler gave an ownership answer of its own"
        );
        return replace(headers, MeshError::internal("the service gave an answer that only the mesh may give"));
    }
    match (stage, call.fenced_commits()) {
        (Stage::TrailersOnly, 0) => {
            headers.insert(UNPROCESSED, HeaderValue::from_static("1"));
        }
        // Part of the call took effect: its outcome is the caller's to find out, by its idempotency key.
        (Stage::TrailersOnly, _) => {
            headers.insert(GRPC_STATUS, HeaderValue::from(Code::Aborted as i32));
        }
        (Stage::Trailers, _) => replace(headers, MeshError::moved(redirect.as_ref())),
    }
}

fn replace(headers: &mut HeaderMap, error: MeshError) {
    for name in [GRPC_STATUS, GRPC_MESSAGE, GRPC_STATUS_DETAILS] {
        headers.remove(name);
    }
    if Status::from(error).add_header(headers).is_err() {
        headers.insert(GRPC_STATUS, HeaderValue::from(Code::Internal as i32));
    }
}

/// The status message, percent-decoded, at most 1 KiB of it.
fn message(headers: &HeaderMap) -> String {
    let mut bytes = headers.get(GRPC_MESSAGE).map_or(&[][..], HeaderValue::as_bytes);
    let mut out = Vec::with_capacity(bytes.len().min(1024));
    while let [first, rest @ ..] = bytes {
        if out.len() >= 1024 {
            break;
        }
        let escaped = (*first == b'%').then(|| rest.first_chunk::<2>().and_then(|hex| hex_pair(*hex))).flatten();
        out.push(escaped.unwrap_or(*first));
        bytes = &rest[if escaped.is_some() { 2 } else { 0 }..];
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn hex_pair([high, low]: [u8; 2]) -> Option<u8> {
    let digit = |b: u8| char::from(b).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

/// A response body within its call: polled in the call's scope, cut at its deadline, guarded against panics.
struct SettledBody {
    call: CallContext,
    body: Body,
    /// Set up only when the body is not there at once, as a unary one is.
    late: Option<Pin<Box<Sleep>>>,
    done: bool,
}

impl SettledBody {
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = self.call.deadline();
        self.late.get_or_insert_with(|| Box::pin(sleep_until(deadline.into()))).as_mut().poll(cx)
    }

    fn end(&mut self, error: MeshError) -> Frame<Bytes> {
        self.done = true;
        self.body = Body::empty();
        let mut trailers = HeaderMap::new();
        replace(&mut trailers, error);
        Frame::trailers(trailers)
    }
}

impl http_body::Body for SettledBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        if this.done {
            return Poll::Ready(None);
        }
        let Self { call, body, .. } = this;
        let polled = catch_unwind(AssertUnwindSafe(|| call.sync_scope(|| Pin::new(body).poll_frame(cx))));
        let frame = match polled {
            Err(panic) => {
                let error = panicked(&this.call, &*panic);
                return Poll::Ready(Some(Ok(this.end(error))));
            }
            Ok(Poll::Pending) => {
                ready!(this.poll_late(cx));
                return Poll::Ready(Some(Ok(this.end(MeshError::deadline_exceeded()))));
            }
            Ok(Poll::Ready(frame)) => frame,
        };
        let Some(Ok(frame)) = frame else {
            this.done = true;
            return Poll::Ready(frame);
        };
        Poll::Ready(Some(Ok(match frame.into_trailers() {
            Ok(mut trailers) => {
                this.done = true;
                strip(&mut trailers);
                settle_status(&this.call, &mut trailers, Stage::Trailers);
                Frame::trailers(trailers)
            }
            Err(data) => data,
        })))
    }

    fn is_end_stream(&self) -> bool {
        self.done || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.done { SizeHint::with_exact(0) } else { SizeHint::default() }
    }
}
