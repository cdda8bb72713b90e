//! One connection, from its preface to its end.

use super::{ServerOptions, preface};
use hyper::{body::Incoming, rt::Executor, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use mesh_layers::{
    budget::ByteBudget,
    layer::Next,
    metadata::{GRPC_STATUS, MALFORMED},
    trust::Listener,
};
use std::{
    convert::Infallible,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    net::TcpStream,
    sync::{Notify, Semaphore},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::body::Body;

/// What all connections of a listener share.
#[derive(Debug)]
pub(super) struct Shared {
    pub options: ServerOptions,
    pub slots: Arc<Semaphore>,
    pub drain: CancellationToken,
    pub abort: CancellationToken,
    pub tasks: TaskTracker,
}

/// Runs hyper's tasks, one for each stream, as the server's own: a drain waits for them, an abort ends them. A call
/// whose task outlived the server would not be counted, nor its span exported.
#[derive(Clone)]
struct Streams {
    tasks: TaskTracker,
    abort: CancellationToken,
}

impl<F: Future<Output: Send> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        let abort = self.abort.clone();
        self.tasks.spawn(async move { abort.run_until_cancelled(stream).await.map(drop) });
    }
}

/// Serves a connection until it ends or the server is aborted.
pub(super) async fn serve<S: Next>(stream: TcpStream, service: S, shared: Arc<Shared>) {
    let abort = shared.abort.clone();
    tokio::select! {
        () = abort.cancelled() => {}
        () = run(stream, service, &shared) => {}
    }
}

async fn run<S: Next>(stream: TcpStream, service: S, shared: &Shared) {
    let (name, limits, metrics) = (shared.options.listener.as_str(), &shared.options.limits, &shared.options.metrics);
    let _counted = metrics.connection(name);
    // hyper's and tonic's own listeners do it only on request; a gRPC frame must not wait for Nagle.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "no TCP_NODELAY");
    }
    let handshake = Duration::from_millis(limits.handshake_ms);
    let opening = tokio::select! {
        () = shared.drain.cancelled() => return,
        opening = tokio::time::timeout(handshake, preface::wait(&stream)) => opening,
    };
    match opening {
        Ok(Ok(preface::Opening::Http2)) => speak(stream, service, shared).await,
        Ok(Ok(preface::Opening::Other)) => {
            metrics.refused_connection(name, "not_http2");
            let _ = tokio::time::timeout(handshake, preface::refuse(stream)).await;
        }
        Ok(Ok(preface::Opening::Closed) | Err(_)) => {}
        Err(_) => metrics.refused_connection(name, "handshake_timeout"),
    }
}

async fn speak<S: Next>(stream: TcpStream, service: S, shared: &Shared) {
    let limits = &shared.options.limits;
    let budget = shared.options.budget.share(limits.connection_budget_bytes);
    let usage = Arc::new(Usage::default());
    let calls = Arc::clone(&usage);
    let answer = service_fn(move |request: hyper::Request<Incoming>| {
        let (service, budget, busy) = (service.clone(), budget.clone(), calls.begin());
        async move { Ok::<_, Infallible>(call(service, request, budget, busy).await) }
    });
    let mut connection = pin!(builder(shared).serve_connection(TokioIo::new(stream), answer));
    let mut age = pin!(tokio::time::sleep(jittered(Duration::from_millis(limits.max_age_ms))));
    let idle = Duration::from_millis(limits.idle_ms);
    loop {
        let ended = tokio::select! {
            ended = connection.as_mut() => return log(shared, ended),
            // A peer's connection carries everybody's calls, and is not cut off for what some callers do.
            () = usage.out_of_patience.notified(), if shared.options.listener == Listener::Front => {
                shared.options.metrics.refused_connection(Listener::Front.as_str(), "abandoned_calls");
                return;
            }
            () = shared.drain.cancelled() => None,
            () = age.as_mut() => Some(Duration::from_millis(limits.age_grace_ms)),
            () = tokio::time::sleep(idle) => match usage.is_idle_since(idle) {
                true => Some(Duration::from_secs(1)),
                false => continue,
            },
        };
        connection.as_mut().graceful_shutdown();
        return finish(connection, ended, shared).await;
    }
}

/// Lets a connection end after its GOAWAY: as long as the server's drain gives it, or for a grace of its own.
async fn finish<C>(connection: Pin<&mut C>, grace: Option<Duration>, shared: &Shared)
where
    C: Future<Output = hyper::Result<()>>,
{
    match grace {
        None => log(shared, connection.await),
        Some(grace) => {
            if let Ok(ended) = tokio::time::timeout(grace, connection).await {
                log(shared, ended);
            }
        }
    }
}

async fn call<S: Next>(
    service: S,
    request: hyper::Request<Incoming>,
    budget: ByteBudget,
    busy: Busy,
) -> http::Response<BusyBody> {
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(budget);
    let response = service.answer(request).await;
    let sense = makes_sense(&response);
    response.map(|body| BusyBody::new(body, busy, sense))
}

/// Whether an honest caller may have made this call: it was gRPC, of a method that exists, and could be read.
fn makes_sense(response: &http::Response<Body>) -> bool {
    let headers = response.headers();
    let unknown = headers.get(GRPC_STATUS).is_some_and(|status| status == "12");
    response.status() == http::StatusCode::OK && !unknown && !headers.contains_key(MALFORMED)
}

fn log(shared: &Shared, ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(listener = shared.options.listener.as_str(), error = %full(&error), "connection ended");
    }
}

fn full(error: &hyper::Error) -> String {
    let source = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
    format!("{error}{source}")
}

fn builder(shared: &Shared) -> http2::Builder<Streams> {
    let limits = &shared.options.limits;
    let keepalive = Duration::from_millis(limits.keepalive_ms);
    let mut builder = http2::Builder::new(Streams { tasks: shared.tasks.clone(), abort: shared.abort.clone() });
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .max_local_error_reset_streams(limits.local_error_resets)
        .max_pending_accept_reset_streams(limits.pending_accept_resets)
        .max_header_list_size(limits.header_bytes)
        .initial_stream_window_size(limits.stream_window_bytes)
        .initial_connection_window_size(limits.connection_window_bytes)
        .keep_alive_interval(keepalive)
        .keep_alive_timeout(keepalive)
        .auto_date_header(false);
    builder
}

/// ± 10 %, so that connections made together do not end together.
fn jittered(age: Duration) -> Duration {
    age.mul_f64(rand::random_range(0.9..1.1))
}

/// Calls that a caller may abandon, or make to no purpose, on one connection, less those he let finish: beyond it he only
/// makes work (CVE-2023-44487). h2 itself counts resets of streams that were not taken up yet, and those only.
const PATIENCE: i64 = 1_000;

/// Calls of one connection: how many run, when the last one ended, and how they ended.
#[derive(Debug)]
struct Usage {
    running: AtomicU64,
    /// [`PATIENCE`] less the calls abandoned, plus those finished.
    patience: AtomicI64,
    out_of_patience: Notify,
    /// Milliseconds from `began` to the end of the last call.
    ended_ms: AtomicU64,
    began: Instant,
}

impl Default for Usage {
    fn default() -> Self {
        Self {
            running: AtomicU64::new(0),
            patience: AtomicI64::new(PATIENCE),
            out_of_patience: Notify::new(),
            ended_ms: AtomicU64::new(0),
            began: Instant::now(),
        }
    }
}

impl Usage {
    fn begin(self: &Arc<Self>) -> Busy {
        self.running.fetch_add(1, Ordering::Relaxed);
        Busy { usage: Arc::clone(self), finished: false }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn is_idle_since(&self, idle: Duration) -> bool {
        let quiet = self.now_ms().saturating_sub(self.ended_ms.load(Ordering::Relaxed));
        self.running.load(Ordering::Relaxed) == 0 && u128::from(quiet) >= idle.as_millis()
    }
}

/// A running call.
struct Busy {
    usage: Arc<Usage>,
    finished: bool,
}

impl Drop for Busy {
    fn drop(&mut self) {
        let usage = &self.usage;
        usage.ended_ms.store(usage.now_ms(), Ordering::Relaxed);
        usage.running.fetch_sub(1, Ordering::Relaxed);
        if self.finished {
            // Not above the start, so that a good past buys nothing. A lost race costs one call of patience.
            if usage.patience.load(Ordering::Relaxed) < PATIENCE {
                usage.patience.fetch_add(1, Ordering::Relaxed);
            }
        } else if usage.patience.fetch_sub(1, Ordering::Relaxed) <= 1 {
            usage.out_of_patience.notify_one();
        }
    }
}

/// A response body whose connection is busy until it is dropped.
struct BusyBody {
    body: Body,
    busy: Busy,
}

impl BusyBody {
    fn new(body: Body, mut busy: Busy, sense: bool) -> Self {
        busy.finished = sense && http_body::Body::is_end_stream(&body);
        Self { body, busy }
    }
}

impl http_body::Body for BusyBody {
    type Data = bytes::Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<bytes::Bytes>, tonic::Status>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(next) = &frame {
            self.busy.finished |= next.as_ref().is_none_or(|next| !next.as_ref().is_ok_and(http_body::Frame::is_data));
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}
