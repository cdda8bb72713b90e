//! One caller's connection: its limits, its calls, its end.

use super::{
    Socket,
    call::{self, Begun},
};
use crate::{head::Gate, worker::Worker};
use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt};
use h2::{Ping, PingPong, Reason, server};
use http::HeaderMap;
use mesh_layers::{Listener, budget::ByteBudget, metadata};
use service_runtime::config::LimitsConfig;
use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering::Relaxed},
    task::Poll,
    time::Duration,
};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

/// Rejected calls in a row that a connection may make; each call that is admitted forgives one.
const PATIENCE: i64 = 1_000;
/// What a call costs that was admitted and made no sense: more than its admission forgave.
const SENSELESS: i64 = 2;

/// What the calls of a connection share.
pub(super) struct Shared<'w> {
    pub(super) worker: &'w Worker,
    pub(super) own: &'w Routes,
    pub(super) gate: Gate<'w>,
    pub(super) budget: ByteBudget,
    patience: AtomicI64,
    /// Calls begun.
    calls: AtomicU64,
    /// Calls that run, streams among them.
    open: AtomicUsize,
}

impl Shared<'_> {
    /// A call was admitted.
    pub(super) fn admitted(&self) {
        self.calls.fetch_add(1, Relaxed);
        if self.patience.load(Relaxed) < PATIENCE {
            self.patience.fetch_add(1, Relaxed);
        }
    }

    /// A call was rejected by its head that an honest caller would not have made.
    pub(super) fn rejected(&self) {
        self.calls.fetch_add(1, Relaxed);
        self.lose_patience(1);
    }

    /// A call was admitted, but what followed its head made no sense.
    pub(super) fn senseless(&self) {
        self.lose_patience(SENSELESS);
    }

    /// A service answered, which may say that it could not read the message.
    pub(super) fn answered(&self, head: &HeaderMap) {
        if head.contains_key(metadata::MALFORMED) {
            self.senseless();
        }
    }

    /// A peer's connection carries everybody's calls, and is not cut off for what some of them say.
    fn lose_patience(&self, cost: i64) {
        if self.gate.listener == Listener::Front {
            self.patience.fetch_sub(cost, Relaxed);
        }
    }

    fn is_out_of_patience(&self) -> bool {
        self.patience.load(Relaxed) <= 0
    }
}

/// Why a connection takes no new calls, or none at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leave {
    Drain,
    Age,
    Idle,
    Silent,
}

/// Serves a connection until it ends.
pub(super) async fn serve(
    worker: &Worker,
    own: &Routes,
    socket: impl Socket,
    listener: Listener,
    drain: CancellationToken,
) {
    let common = &*worker.common;
    let handshake = Duration::from_millis(common.limits.handshake_ms);
    let Ok(Ok(mut connection)) =
        timeout(handshake, builder(&common.limits, listener).handshake::<_, Bytes>(socket)).await
    else {
        return;
    };
    let gate = Gate {
        listener,
        token: common.token.as_ref(),
        max_calls: common.limits.calls,
        max_streams: common.limits.server_streams,
        own: &common.own_services,
    };
    let shared = Shared {
        worker,
        own,
        gate,
        budget: common.budget.share(common.limits.connection_budget_bytes),
        patience: AtomicI64::new(PATIENCE),
        calls: AtomicU64::new(0),
        open: AtomicUsize::new(0),
    };
    let pings = connection.ping_pong();
    let mut leave = pin!(leave(&shared, drain, pings));
    let mut grace = pin!(sleep(Duration::from_secs(86_400 * 365)));
    let mut left = None;
    let mut cut_off = false;
    let (mut calls, mut own_calls) = (FuturesUnordered::new(), FuturesUnordered::new());
    let ended = poll_fn(|cx| {
        loop {
            if left.is_none()
                && let Poll::Ready(why) = leave.as_mut().poll(cx)
            {
                left = Some(why);
                match why {
                    Leave::Silent => return Poll::Ready(Ok(())),
                    // The whole process ends after a grace of its own.
                    Leave::Drain => {}
                    Leave::Age | Leave::Idle => {
                        let end = Instant::now() + Duration::from_millis(common.limits.age_grace_ms);
                        grace.as_mut().reset(end);
                    }
                }
                connection.graceful_shutdown();
            }
            if left.is_some() && grace.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            let mut progress = false;
            loop {
                match connection.poll_accept(cx) {
                    Poll::Ready(Some(Ok((request, respond)))) => {
                        match call::begin(&shared, request, respond) {
                            Begun::Routed(open) => calls.push(call::run(&shared, open)),
                            Begun::Own(future) => own_calls.push(future),
                            Begun::Ended => {}
                        }
                        progress = true;
                    }
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                    Poll::Ready(None) => return Poll::Ready(Ok(())),
                    Poll::Pending => break,
                }
                if shared.is_out_of_patience() {
                    break;
                }
            }
            while let Poll::Ready(Some(())) = calls.poll_next_unpin(cx) {
                progress = true;
            }
            while !own_calls.is_empty() && own_calls.poll_next_unpin(cx).is_ready() {
                progress = true;
            }
            if shared.is_out_of_patience() {
                shared.patience.store(i64::MAX, Relaxed);
                connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                cut_off = true;
                progress = true;
            }
            // What calls have written is flushed by polling the connection again.
            if !progress {
                shared.open.store(calls.len() + own_calls.len(), Relaxed);
                return Poll::Pending;
            }
        }
    })
    .await;
    let too_much = ended.is_err_and(|error| error.reason() == Some(Reason::ENHANCE_YOUR_CALM));
    if cut_off || too_much {
        common.brain.events.cut_off.fetch_add(1, Relaxed);
    }
    tracing::debug!(listener = listener.as_str(), ?left, "connection ended");
}

/// Ends when the connection should take no more calls: at drain, when it is old, when nobody uses it, or when its caller
/// no longer answers.
async fn leave(shared: &Shared<'_>, drain: CancellationToken, pings: Option<PingPong>) -> Leave {
    let limits = &shared.worker.common.limits;
    // Ages differ by up to a tenth, so that connections made together do not all come back together.
    let spread = 0.9 + (shared.worker.chance() % 1024) as f64 / 5120.0;
    let age = Duration::from_millis(limits.max_age_ms).mul_f64(spread);
    let idle = async {
        let mut seen = u64::MAX;
        loop {
            sleep(Duration::from_millis(limits.idle_ms)).await;
            // A stream that is open is use, however little comes through it.
            if shared.open.load(Relaxed) == 0 && std::mem::replace(&mut seen, shared.calls.load(Relaxed)) == seen {
                return;
            }
        }
    };
    tokio::select! {
        biased;
        () = drain.cancelled() => Leave::Drain,
        () = sleep(age) => Leave::Age,
        () = idle => Leave::Idle,
        () = silence(pings, Duration::from_millis(limits.keepalive_ms)) => Leave::Silent,
    }
}

/// Ends when a ping is not answered in time.
async fn silence(pings: Option<PingPong>, interval: Duration) {
    let Some(mut pings) = pings else { return std::future::pending().await };
    loop {
        sleep(interval).await;
        match timeout(interval, pings.ping(Ping::opaque())).await {
            Ok(Ok(_)) => {}
            // The connection itself has ended and says so.
            Ok(Err(_)) => return std::future::pending().await,
            Err(_) => return,
        }
    }
}

fn builder(limits: &LimitsConfig, listener: Listener) -> server::Builder {
    let limits = &limits.on(listener);
    let mut builder = server::Builder::new();
    builder
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(limits.header_bytes)
        .initial_window_size(limits.stream_window_bytes)
        .initial_connection_window_size(limits.connection_window_bytes)
        .max_local_error_reset_streams(Some(limits.local_error_resets))
        .max_pending_accept_reset_streams(limits.pending_accept_resets)
        .max_send_buffer_size(256 * 1024);
    builder
}
