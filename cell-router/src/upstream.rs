//! Connections to instances and to other cells' routers, of one worker.
//!
//! Several connections to a target, so that one that dies takes a share of the calls with it and not all.

mod link;

use crate::world::Endpoint;
use bytes::Bytes;
use h2::client::ResponseFuture;
use http::Request;
use link::Link;
use mesh_routing::balance::Gauge;
use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Calls in flight on each of a target's connections at which another one is opened.
const CROWDED: u32 = 64;
/// A call given up without any answer after this long counts against its instance.
const SILENCE: Duration = Duration::from_secs(1);
/// First wait before a connection is tried again; it doubles up to [`LONGEST_BACKOFF`].
const FIRST_BACKOFF: Duration = Duration::from_millis(20);
/// Longest wait before a connection is tried again.
const LONGEST_BACKOFF: Duration = Duration::from_secs(1);

/// How many connections a target has.
#[derive(Clone, Copy, Debug)]
pub struct Links {
    /// Kept open always.
    pub least: usize,
    /// Open under load.
    pub most: usize,
}

/// An address, with this worker's connections to it. They are given up when it is dropped; calls in flight end first.
#[derive(Debug)]
pub struct Target {
    inner: Arc<Inner>,
    _stop: DropGuard,
}

#[derive(Debug)]
struct Inner {
    endpoint: Arc<Endpoint>,
    gauge: Gauge,
    links: Mutex<Vec<Arc<Link>>>,
    most: usize,
    growing: AtomicBool,
    origin: Instant,
    stop: CancellationToken,
}

impl Target {
    /// Connects in the background; call it on the worker's runtime.
    #[must_use]
    pub fn connect(endpoint: Arc<Endpoint>, links: Links, origin: Instant) -> Self {
        let stop = CancellationToken::new();
        let inner = Arc::new(Inner {
            endpoint,
            gauge: Gauge::default(),
            links: Mutex::default(),
            most: links.most.max(links.least),
            growing: AtomicBool::new(false),
            origin,
            stop: stop.clone(),
        });
        for _ in 0..links.least.max(1) {
            tokio::spawn(Arc::clone(&inner).keep(true));
        }
        Self { inner, _stop: stop.drop_guard() }
    }

    /// Load and health of the address.
    #[must_use]
    pub fn gauge(&self) -> &Gauge {
        &self.inner.gauge
    }

    /// Whether a connection of this worker stands.
    #[must_use]
    pub fn is_live(&self) -> bool {
        !self.inner.links().is_empty()
    }

    /// Sends a request with its whole body on the less busy of two connections.
    ///
    /// # Errors
    /// If there is no connection that takes it; nothing was sent then.
    pub fn send(&self, head: Request<()>, body: Bytes, chance: u64) -> Result<Flight, Unsent> {
        let link = self.inner.choose(chance).ok_or(Unsent)?;
        let response = link.open(head, body).map_err(|_| {
            // The peer said GOAWAY, or the connection broke a moment ago.
            link.retire();
            Unsent
        })?;
        self.inner.gauge.begin();
        link.begin();
        let answered = AtomicBool::new(false);
        let trip = Trip { target: Arc::clone(&self.inner), link, begun: Instant::now(), answered };
        Ok(Flight { response, trip })
    }
}

/// Nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsent;

/// A request that was sent.
#[derive(Debug)]
pub struct Flight {
    /// Its response.
    pub response: ResponseFuture,
    /// Hold it until the response has ended.
    pub trip: Trip,
}

/// Counts a call as in flight until dropped.
#[derive(Debug)]
pub struct Trip {
    target: Arc<Inner>,
    link: Arc<Link>,
    begun: Instant,
    answered: AtomicBool,
}

impl Trip {
    /// The head of the response came.
    pub fn answered(&self) {
        let now = Instant::now();
        self.answered.store(true, Relaxed);
        self.target.gauge.answered(now - self.begun, now - self.target.origin);
    }

    /// The connection or stream broke.
    pub fn failed(&self) {
        self.answered.store(true, Relaxed);
        self.target.gauge.failed(self.target.origin.elapsed());
    }
}

impl Drop for Trip {
    fn drop(&mut self) {
        if !*self.answered.get_mut() && self.begun.elapsed() >= SILENCE {
            self.target.gauge.failed(self.target.origin.elapsed());
        }
        self.target.gauge.end();
        self.link.end();
    }
}

impl Inner {
    fn links(&self) -> MutexGuard<'_, Vec<Arc<Link>>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn choose(self: &Arc<Self>, chance: u64) -> Option<Arc<Link>> {
        let links = self.links();
        let count = links.len();
        let first = links.get(chance as u32 as usize % count.max(1))?;
        let second = &links[(chance >> 32) as usize % count];
        let link = if second.in_flight() < first.in_flight() { second } else { first };
        if link.in_flight() >= CROWDED && count < self.most && !self.growing.swap(true, Relaxed) {
            tokio::spawn(Arc::clone(self).keep(false));
        }
        Some(Arc::clone(link))
    }

    /// Keeps one connection: for ever, or only until it ends.
    async fn keep(self: Arc<Self>, always: bool) {
        let stop = self.stop.clone();
        let _ = stop.run_until_cancelled(self.keep_connected(always)).await;
    }

    async fn keep_connected(&self, always: bool) {
        let mut backoff = FIRST_BACKOFF;
        loop {
            let connected = link::connect(&self.endpoint.address).await;
            self.growing.store(false, Relaxed);
            match connected {
                Ok((link, driver)) => {
                    let began = Instant::now();
                    let standing = Standing::new(self, link);
                    standing.link.ended_or_retired(driver).await;
                    // A peer that accepts and closes at once is no better than one that refuses; any other end is
                    // ordinary (age, drain, restart), and the next connection is wanted now.
                    if began.elapsed() >= FIRST_BACKOFF {
                        backoff = FIRST_BACKOFF;
                        if always {
                            continue;
                        }
                    }
                }
                Err(error) => tracing::debug!(address = self.endpoint.address, %error, "cannot connect"),
            }
            if !always {
                return;
            }
            // Not by chance: workers and links of one process need not spread.
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).min(LONGEST_BACKOFF);
        }
    }
}

/// A connection in the list of those that take calls, until dropped.
struct Standing<'a> {
    inner: &'a Inner,
    link: Arc<Link>,
}

impl<'a> Standing<'a> {
    fn new(inner: &'a Inner, link: Arc<Link>) -> Self {
        inner.links().push(Arc::clone(&link));
        inner.endpoint.connected();
        Self { inner, link }
    }
}

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        self.inner.links().retain(|link| !Arc::ptr_eq(link, &self.link));
        self.inner.endpoint.disconnected();
    }
}
