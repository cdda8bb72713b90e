//! One span and one record of each call, however it ends.

use super::{Around, Methods, Next, Request, Response};
use crate::{Listener, metadata::GRPC_STATUS, trace};
use bytes::Bytes;
use cell_map::CellId;
use http::{HeaderMap, StatusCode};
use http_body::{Frame, SizeHint};
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};
use tonic::{Code, Status, body::Body};
use tracing::{Instrument, Span, field::Empty};

/// Label of methods that are not served.
pub const UNKNOWN: &str = "unknown";

/// Where records go.
pub trait Recorder: Send + Sync + 'static {
    /// A call begins. Its end is always told by [`Recorder::finished`].
    fn started(&self, service: &str, method: &str);
    /// A call ended. One that its caller gave up is CANCELLED.
    fn finished(&self, finished: &Finished<'_>);
}

/// How a call ended.
#[derive(Clone, Copy, Debug)]
pub struct Finished<'a> {
    /// `package.Service`, or [`UNKNOWN`].
    pub service: &'a str,
    /// The method's name, or [`UNKNOWN`].
    pub method: &'a str,
    /// The status.
    pub code: Code,
    /// From the request's head to the response's last byte given to the transport.
    pub took: Duration,
    /// Where the call came in.
    pub listener: Listener,
}

/// [`Around`] that opens a SERVER span and keeps the record.
#[derive(Clone)]
pub struct Observe {
    cell: CellId,
    listener: Listener,
    methods: Arc<Methods>,
    recorder: Arc<dyn Recorder>,
}

impl Observe {
    /// Records calls of one listener.
    #[must_use]
    pub fn new(cell: CellId, listener: Listener, methods: Arc<Methods>, recorder: Arc<dyn Recorder>) -> Self {
        Self { cell, listener, methods, recorder }
    }

    fn span(&self, service: &str, method: &str) -> Span {
        let span = tracing::info_span!(
            target: trace::TARGET,
            "server",
            otel.name = Empty,
            otel.kind = "server",
            otel.status_code = Empty,
            rpc.system = "grpc",
            rpc.service = service,
            rpc.method = method,
            rpc.grpc.status_code = Empty,
            cell.id = self.cell.as_str(),
            cell.hops = Empty,
            cell.map_epoch = Empty,
        );
        if !span.is_disabled() {
            span.record("otel.name", format!("{service}/{method}"));
        }
        span
    }
}

impl Around for Observe {
    async fn around<N: Next>(self, request: Request, next: N) -> Response {
        let path = request.uri().clone();
        let (service, method) = names(&self.methods, path.path());
        let span = self.span(service, method);
        trace::continue_from(&span, request.headers());
        let record = Record::begin(&self, path, span.clone());
        let response = next.answer(request).instrument(span).await;
        match head_code(&response) {
            Some(code) => {
                record.end(code);
                response
            }
            None => response.map(|body| Body::new(ObservedBody { body, record: Some(record) })),
        }
    }
}

fn names<'a>(methods: &'a Methods, path: &str) -> (&'a str, &'a str) {
    methods.get(path).map_or((UNKNOWN, UNKNOWN), |method| (&method.service, &method.name))
}

/// The status of a trailers-only response.
fn head_code(response: &Response) -> Option<Code> {
    match response.headers().get(GRPC_STATUS) {
        Some(status) => Some(Code::from_bytes(status.as_bytes())),
        None if response.status() != StatusCode::OK => Some(Code::Unknown),
        None => None,
    }
}

/// A running call; when dropped before its end, it was cancelled.
struct Record {
    recorder: Arc<dyn Recorder>,
    methods: Arc<Methods>,
    path: http::Uri,
    listener: Listener,
    span: Span,
    began: Instant,
    code: Code,
}

impl Record {
    fn begin(observe: &Observe, path: http::Uri, span: Span) -> Self {
        let (service, method) = names(&observe.methods, path.path());
        observe.recorder.started(service, method);
        Self {
            recorder: Arc::clone(&observe.recorder),
            methods: Arc::clone(&observe.methods),
            path,
            listener: observe.listener,
            span,
            began: Instant::now(),
            code: Code::Cancelled,
        }
    }

    fn end(mut self, code: Code) {
        self.code = code;
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if !self.span.is_disabled() {
            self.span.record("rpc.grpc.status_code", self.code as i64);
            if is_our_fault(self.code) {
                self.span.record("otel.status_code", "ERROR");
            }
        }
        let (service, method) = names(&self.methods, self.path.path());
        let took = self.began.elapsed();
        self.recorder.finished(&Finished { service, method, code: self.code, took, listener: self.listener });
    }
}

/// What counts as an error of a server span (OpenTelemetry's RPC conventions).
fn is_our_fault(code: Code) -> bool {
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

struct ObservedBody {
    body: Body,
    record: Option<Record>,
}

impl ObservedBody {
    fn end(&mut self, trailers: Option<&HeaderMap>) {
        let status = trailers.and_then(|trailers| trailers.get(GRPC_STATUS));
        if let Some(record) = self.record.take() {
            record.end(status.map_or(Code::Unknown, |status| Code::from_bytes(status.as_bytes())));
        }
    }
}

impl http_body::Body for ObservedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let span = this.record.as_ref().map(|record| record.span.clone());
        let entered = span.as_ref().map(Span::enter);
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        drop(entered);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(trailers) = frame.trailers_ref() {
                    this.end(Some(trailers));
                }
            }
            Poll::Ready(Some(Err(_)) | None) => this.end(None),
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
