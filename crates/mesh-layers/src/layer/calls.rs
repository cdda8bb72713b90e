//! The call's story: admit it, run it under its deadline and a panic guard, settle its answer.

use super::{Around, Methods, Next, Request, Response, answer};
use crate::{
    CallContext, Listener, MeshError, Reason,
    call::{CallStart, TraceHeaders},
    metadata::{self, GRPC_STATUS},
    timeout,
    trust::{self, PeerToken},
};
use cell_map::CellId;
use futures_util::FutureExt;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use std::{
    any::Any,
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};
use tonic::Code;
use tracing::Span;

/// What a listener grants its callers.
#[derive(Clone, Debug)]
pub struct Admission {
    /// The cell that this process belongs to.
    pub cell: CellId,
    /// Which listener it is.
    pub listener: Listener,
    /// What makes a caller a peer; without one a peer listener refuses everybody.
    pub token: Option<PeerToken>,
    /// Deadline when neither caller nor method gives one.
    pub default_deadline: Duration,
    /// Longest deadline granted where the method does not say.
    pub max_deadline: Duration,
}

/// [`Around`] with one [`Admission`].
#[derive(Clone, Debug)]
pub struct Calls {
    admission: Arc<Admission>,
    methods: Arc<Methods>,
}

impl Calls {
    /// Admits calls of these methods.
    #[must_use]
    pub fn new(admission: Admission, methods: Arc<Methods>) -> Self {
        Self { admission: Arc::new(admission), methods }
    }
}

impl Around for Calls {
    async fn around<N: Next>(self, mut request: Request, next: N) -> Response {
        let mut hops = 0;
        let mut response = match admit(&self.admission, &self.methods, &mut request) {
            Err(refused) => {
                let malformed = refused.error.reason() == Reason::BadRequest;
                let mut response: Response = refused.into_http();
                if malformed {
                    answer::mark(response.headers_mut());
                }
                response
            }
            Ok(call) => {
                hops = call.hops();
                note(&call);
                let is_stream = self.methods.get(call.path()).is_some_and(|method| method.rules.server_streaming);
                let mut response = run(call.clone(), request, next).await;
                if !is_stream && !response.headers().contains_key(GRPC_STATUS) {
                    tell(&call, response.headers_mut());
                }
                response
            }
        };
        stamp(&self.admission.cell, hops, response.headers_mut());
        response
    }
}

/// Why a request is not admitted.
#[derive(Clone, Debug, PartialEq)]
pub struct NotAdmitted {
    /// The HTTP status: 200 for what gRPC can say.
    pub http: StatusCode,
    /// The gRPC status.
    pub error: MeshError,
}

impl From<MeshError> for NotAdmitted {
    fn from(error: MeshError) -> Self {
        Self { http: StatusCode::OK, error }
    }
}

impl NotAdmitted {
    /// The response: trailers-only, also beside an HTTP error, as grpc-go does.
    #[must_use]
    pub fn into_http<B: Default>(self) -> http::Response<B> {
        let mut response = self.error.into_http();
        *response.status_mut() = self.http;
        if self.http == StatusCode::METHOD_NOT_ALLOWED {
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
        }
        response
    }
}

/// Whether this is a gRPC request at all: POST, and a content type of gRPC with protobuf.
///
/// # Errors
/// HTTP 405 or 415.
pub fn check_http(method: &Method, headers: &HeaderMap) -> Result<(), NotAdmitted> {
    if method != Method::POST {
        let error = MeshError::bad_request("http method must be POST").with_code(Code::Internal);
        return Err(NotAdmitted { http: StatusCode::METHOD_NOT_ALLOWED, error });
    }
    let kind = headers.get(header::CONTENT_TYPE).map_or(&[][..], HeaderValue::as_bytes);
    let kind = kind.split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
    if kind == b"application/grpc" || kind == b"application/grpc+proto" {
        Ok(())
    } else {
        let error = MeshError::bad_request("content-type must be application/grpc or application/grpc+proto");
        Err(NotAdmitted { http: StatusCode::UNSUPPORTED_MEDIA_TYPE, error })
    }
}

/// Checks a request's head, strips it, and begins its call.
///
/// # Errors
/// In this order: HTTP method and content type, metadata, trust, timeout; a deadline that is over already.
pub fn admit(admission: &Admission, methods: &Methods, request: &mut Request) -> Result<CallContext, NotAdmitted> {
    check_http(request.method(), request.headers())?;
    metadata::check(request.headers())?;
    let believed = trust::admit(admission.listener, admission.token.as_ref(), request.headers_mut())?;
    let user_hint = metadata::user(request.headers())?;
    let asked = timeout::of(request.headers()).map_err(MeshError::from)?;
    let rules = methods.get(request.uri().path()).map(|method| &method.rules);
    let default = rules.and_then(|rules| rules.default_deadline).unwrap_or(admission.default_deadline);
    let max = rules.and_then(|rules| rules.max_deadline).unwrap_or(admission.max_deadline);
    let granted = timeout::granted(asked, default, max);
    if granted.is_zero() {
        return Err(MeshError::deadline_exceeded().into());
    }
    // From here on the context is what counts: nothing below may start a second clock.
    request.headers_mut().remove(metadata::GRPC_TIMEOUT);
    let call = CallContext::new(CallStart {
        cell: admission.cell.clone(),
        path: request.uri().clone(),
        listener: admission.listener,
        believed,
        user_hint,
        deadline: Instant::now() + granted,
        trace: TraceHeaders::of(request.headers()),
    });
    request.extensions_mut().insert(call.clone());
    Ok(call)
}

async fn run<N: Next>(call: CallContext, request: Request, next: N) -> Response {
    let guarded = AssertUnwindSafe(next.answer(request)).catch_unwind();
    let ended = tokio::time::timeout_at(call.deadline().into(), call.scope(guarded)).await;
    match ended {
        Ok(Ok(response)) => answer::settle(&call, response),
        Ok(Err(panic)) => panicked(&call, &*panic).into_http(),
        Err(_) => MeshError::deadline_exceeded().into_http(),
    }
}

/// Logs a panic and makes it an answer that tells the caller nothing of our insides.
pub(super) fn panicked(call: &CallContext, panic: &(dyn Any + Send)) -> MeshError {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let text = text.unwrap_or("?");
    call.sync_scope(|| tracing::warn!(rpc.path = call.path(), panic = text, "call ended by a panic"));
    MeshError::internal("the handler failed")
}

fn note(call: &CallContext) {
    let span = Span::current();
    if !span.is_disabled() {
        span.record("cell.hops", call.hops());
        if let Some(epoch) = call.map_epoch() {
            span.record("cell.map_epoch", epoch.get());
        }
    }
}

/// Says where the user's data stood.
fn tell(call: &CallContext, headers: &mut HeaderMap) {
    if let Some(token) = call.token() {
        headers.insert(metadata::TOKEN, token.header());
    }
}

/// Says who answered.
pub fn stamp(cell: &CellId, hops: u32, headers: &mut HeaderMap) {
    let cell = HeaderValue::from_str(cell.as_str()).expect("a cell's name is a DNS label");
    headers.insert(metadata::CELL, cell);
    headers.insert(metadata::HOPS, metadata::decimal(hops.into()));
}
