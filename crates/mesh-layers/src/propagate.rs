//! What goes along with an outgoing call: the time that is left, and the trace.

use crate::{CallContext, MeshError, metadata::GRPC_TIMEOUT, timeout, trace};
use http::{HeaderMap, Request};
use std::{
    task::{Context, Poll},
    time::Duration,
};
use tonic::Status;
use tower_layer::Layer;
use tower_service::Service;
use tracing::Span;

/// Kept back from the time left, so that an answer still reaches the caller before its own deadline.
pub const MARGIN: Duration = Duration::from_millis(5);

/// The time to give an outgoing call: what is left minus the margin.
///
/// # Errors
/// DEADLINE_EXCEEDED when nothing is.
pub fn remaining(left: Duration, margin: Duration) -> Result<Duration, MeshError> {
    left.checked_sub(margin).filter(|left| !left.is_zero()).ok_or_else(MeshError::deadline_exceeded)
}

/// Writes `grpc-timeout` and `traceparent` of the current call (task-local) and span into an outgoing request's
/// headers. A shorter timeout that stands there already is kept. Outside of a call only the trace is written.
///
/// # Errors
/// DEADLINE_EXCEEDED when no time is left.
pub fn outgoing(headers: &mut HeaderMap, margin: Duration) -> Result<(), MeshError> {
    if let Some(left) = CallContext::with_current(CallContext::remaining) {
        let left = remaining(left, margin)?;
        let asked = timeout::of(headers)?;
        headers.insert(GRPC_TIMEOUT, timeout::format(asked.map_or(left, |asked| asked.min(left))));
    }
    trace::write(&Span::current(), headers);
    Ok(())
}

/// Layer for channels of generated tonic clients: see [`outgoing`].
#[derive(Clone, Copy, Debug)]
pub struct PropagateLayer {
    margin: Duration,
}

impl Default for PropagateLayer {
    fn default() -> Self {
        Self { margin: MARGIN }
    }
}

impl PropagateLayer {
    /// With another margin than [`MARGIN`].
    #[must_use]
    pub fn new(margin: Duration) -> Self {
        Self { margin }
    }
}

impl<S> Layer<S> for PropagateLayer {
    type Service = Propagate<S>;

    fn layer(&self, inner: S) -> Propagate<S> {
        Propagate { margin: self.margin, inner }
    }
}

/// A channel that sends deadline and trace along.
#[derive(Clone, Debug)]
pub struct Propagate<S> {
    margin: Duration,
    inner: S,
}

impl<S, B, R> Service<Request<B>> for Propagate<S>
where
    S: Service<Request<B>, Response = http::Response<R>>,
    R: Default,
{
    type Response = http::Response<R>;
    type Error = S::Error;
    type Future = futures_util::future::Either<std::future::Ready<Result<http::Response<R>, S::Error>>, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        match outgoing(request.headers_mut(), self.margin) {
            Ok(()) => futures_util::future::Either::Right(self.inner.call(request)),
            Err(error) => {
                let answer = Status::from(error).into_http();
                futures_util::future::Either::Left(std::future::ready(Ok(answer)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Listener,
        call::{CallStart, TraceHeaders},
        trust::Believed,
    };
    use cell_map::CellId;
    use http::{HeaderValue, Uri};
    use std::time::Instant;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn call(left: Duration) -> CallContext {
        CallContext::new(CallStart {
            cell: CellId::new("bj-1").unwrap(),
            path: Uri::from_static("/a.B/C"),
            listener: Listener::Front,
            believed: Believed::default(),
            user_hint: None,
            deadline: Instant::now() + left,
            trace: Some(TraceHeaders { parent: HeaderValue::from_static(PARENT), state: None }),
        })
    }

    #[test]
    fn an_outgoing_call_gets_the_time_left_minus_the_margin() {
        call(Duration::from_secs(2)).sync_scope(|| {
            let mut headers = HeaderMap::new();
            outgoing(&mut headers, Duration::from_secs(1)).unwrap();
            let given = timeout::of(&headers).unwrap().expect("a call has a deadline");
            assert!(given <= Duration::from_secs(1) && given > Duration::from_millis(900), "{given:?}");
            assert_eq!(headers["traceparent"], PARENT);
        });
    }

    #[test]
    fn a_shorter_timeout_of_the_caller_is_kept() {
        call(Duration::from_secs(2)).sync_scope(|| {
            let mut headers = HeaderMap::new();
            headers.insert(GRPC_TIMEOUT, HeaderValue::from_static("10m"));
            outgoing(&mut headers, MARGIN).unwrap();
            assert_eq!(timeout::of(&headers), Ok(Some(Duration::from_millis(10))));
        });
    }

    #[test]
    fn nothing_is_sent_when_no_time_is_left() {
        call(Duration::from_millis(3)).sync_scope(|| {
            let error = outgoing(&mut HeaderMap::new(), MARGIN).unwrap_err();
            assert_eq!(error.code(), tonic::Code::DeadlineExceeded);
        });
    }

    #[test]
    fn outside_of_a_call_there_is_no_deadline() {
        let mut headers = HeaderMap::new();
        outgoing(&mut headers, MARGIN).unwrap();
        assert!(headers.is_empty());
    }
}
