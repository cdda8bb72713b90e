//! The connections to one address.
//!
//! They are made when they are wanted: the first with the first call, which waits for it; more, up to the limit, when those
//! that stand are crowded. After a connection failed the address counts as down: calls fail at once, nothing sent, while one
//! task tries again, seldom when nobody asks.

mod trip;

pub(super) use trip::{Flight, Trip};

use super::{
    link::{self, Driver, Link},
    settings::Settings,
    tally::{Tally, count},
};
use arc_swap::ArcSwap;
use hashbrown::HashMap;
use http::{Request, uri::Authority};
use mesh_routing::{balance::Gauge, retry::Outcome};
use std::{
    pin::pin,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, Weak,
        atomic::{
            AtomicBool, AtomicU32, AtomicU64,
            Ordering::{Relaxed, SeqCst},
        },
    },
    time::{Duration, Instant},
};
use tokio::{runtime::Handle, sync::Notify};

/// Calls in flight on each connection at which another one is made.
const CROWDED: u32 = 16;
/// First wait before a connection is tried again; it doubles up to [`LONGEST_BACKOFF`], and a fifth more comes by chance.
const FIRST_BACKOFF: Duration = Duration::from_millis(20);
/// Longest wait before a connection is tried again, but for chance's share.
const LONGEST_BACKOFF: Duration = Duration::from_millis(800);
/// Most connections to an address for server streams: a few thousand streams.
const STREAM_LINKS: usize = 64;
/// Connections that are tried for one call, should they refuse.
const TRIES: usize = 3;
/// Nobody asks for an address when the last call that did came so long ago.
const INTEREST: Duration = Duration::from_secs(10);
/// Wait before a connection is tried again for which nobody asks.
const IDLE_BACKOFF: Duration = Duration::from_secs(10);

/// The connections to one address.
pub(super) struct Pool {
    address: String,
    /// The same, as requests name it.
    pub authority: Authority,
    settings: Arc<Settings>,
    /// The mesh's own, which connections live by: a call may be made on one that ends before them.
    runtime: Handle,
    tally: Arc<Tally>,
    gauge: Gauge,
    origin: Instant,
    links: ArcSwap<Vec<Arc<Link>>>,
    /// Serialises changes of `links`.
    changing: Mutex<u64>,
    /// A connection is being made, or will be after a wait.
    opening: AtomicBool,
    down: AtomicBool,
    /// Connections in a row that failed or ended without an answer.
    strikes: AtomicU32,
    /// When a call last asked while nothing was connected, in milliseconds since `origin`.
    asked_ms: AtomicU64,
    asked: Arc<Notify>,
    /// Calls that wait for a free stream.
    waiting: AtomicU32,
    changed: Notify,
    freed: Notify,
    /// Most connections.
    most: usize,
    /// Connections for server streams, which last: calls find room whatever is watched.
    streams: OnceLock<Arc<Pool>>,
}

/// All pools, by address.
pub(super) struct Pools {
    settings: Arc<Settings>,
    runtime: Handle,
    origin: Instant,
    by_address: Mutex<HashMap<String, Weak<Pool>>>,
}

impl Pools {
    pub fn new(settings: Arc<Settings>, runtime: Handle, origin: Instant) -> Self {
        Self { settings, runtime, origin, by_address: Mutex::default() }
    }

    /// The pool of an address; none if it is no `host:port`. A new one is counted with `tally`.
    pub fn of(&self, address: &str, tally: &Arc<Tally>) -> Option<Arc<Pool>> {
        let mut pools = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = pools.get(address).and_then(Weak::upgrade) {
            return Some(pool);
        }
        let authority = authority(address)?;
        let (settings, runtime) = (Arc::clone(&self.settings), self.runtime.clone());
        let most = settings.links;
        let pool = Arc::new(Pool::new(address, authority, settings, runtime, self.origin, Arc::clone(tally), most));
        pools.retain(|_, pool| pool.strong_count() > 0);
        pools.insert(address.to_owned(), Arc::downgrade(&pool));
        Some(pool)
    }
}

/// An address as requests name it; none if it is no `host:port`.
pub(super) fn authority(address: &str) -> Option<Authority> {
    let authority: Authority = address.parse().ok()?;
    let whole = authority.port_u16().is_some() && !authority.host().is_empty() && !address.contains('@');
    whole.then_some(authority)
}

impl Pool {
    fn new(
        address: &str,
        authority: Authority,
        settings: Arc<Settings>,
        runtime: Handle,
        origin: Instant,
        tally: Arc<Tally>,
        most: usize,
    ) -> Self {
        Self {
            address: address.to_owned(),
            authority,
            settings,
            runtime,
            tally,
            gauge: Gauge::default(),
            origin,
            links: ArcSwap::default(),
            changing: Mutex::new(0),
            opening: AtomicBool::new(false),
            down: AtomicBool::new(false),
            strikes: AtomicU32::new(0),
            asked_ms: AtomicU64::new(0),
            asked: Arc::default(),
            waiting: AtomicU32::new(0),
            changed: Notify::new(),
            freed: Notify::new(),
            most,
            streams: OnceLock::new(),
        }
    }

    /// The same address for server streams, over connections of their own.
    pub fn for_streams(&self) -> &Arc<Self> {
        self.streams.get_or_init(|| {
            let (settings, runtime, tally) =
                (Arc::clone(&self.settings), self.runtime.clone(), Arc::clone(&self.tally));
            let authority = self.authority.clone();
            Arc::new(Self::new(&self.address, authority, settings, runtime, self.origin, tally, STREAM_LINKS))
        })
    }

    /// Load and health of the address.
    pub fn gauge(&self) -> &Gauge {
        &self.gauge
    }

    /// Whether it is known that nothing can be sent now.
    pub fn is_down(&self) -> bool {
        self.down.load(Relaxed)
    }

    /// A call would go to it, were it not down.
    pub fn ask(&self) {
        self.asked_ms.store(self.now_ms(), Relaxed);
        self.asked.notify_one();
    }

    /// Opens a stream with a request's head, on the least busy connection; waits for a connection, or for a stream of
    /// one, where there is none. `head` is asked again should a connection refuse; `now` is now.
    ///
    /// Cancel-safe: nothing is sent when it is dropped.
    ///
    /// # Errors
    /// [`Outcome::Unsent`] if there is no connection and none can be made.
    pub async fn send(
        self: &Arc<Self>,
        now: Instant,
        mut head: impl FnMut() -> Request<()>,
    ) -> Result<Flight, Outcome> {
        for _ in 0..TRIES {
            let (link, begun) = match self.choose() {
                Some(link) => (link, now),
                None => (self.wait_for_link().await?, Instant::now()),
            };
            let trip = Trip::begin(self, link, begun);
            match trip.open(head()) {
                Ok((response, body)) => return Ok(Flight { response, body, trip }),
                // The peer said GOAWAY, or the connection broke a moment ago.
                Err(error) => {
                    tracing::debug!(address = self.address, %error, "connection takes no more calls");
                    self.lost(trip.link());
                }
            }
        }
        Err(Outcome::Unsent)
    }

    /// The least busy connection, if it has a free stream.
    fn choose(self: &Arc<Self>) -> Option<Arc<Link>> {
        let links = self.links.load();
        let link = links.iter().min_by_key(|link| link.in_flight())?;
        let in_flight = link.in_flight();
        if in_flight >= CROWDED && links.len() < self.most {
            self.open();
        }
        (in_flight < self.settings.streams).then(|| Arc::clone(link))
    }

    #[cold]
    async fn wait_for_link(self: &Arc<Self>) -> Result<Arc<Link>, Outcome> {
        let _waiting = Waiting::new(&self.waiting);
        loop {
            let (mut freed, mut changed) = (pin!(self.freed.notified()), pin!(self.changed.notified()));
            freed.as_mut().enable();
            changed.as_mut().enable();
            if let Some(link) = self.choose() {
                return Ok(link);
            }
            if self.links.load().is_empty() {
                self.ask();
                self.open();
                if self.is_down() {
                    return Err(Outcome::Unsent);
                }
            }
            tokio::select! {
                () = freed => {}
                () = changed => {}
            }
        }
    }

    /// Makes a connection in the background, unless one is being made.
    fn open(self: &Arc<Self>) {
        if !self.opening.load(SeqCst) && !self.opening.swap(true, SeqCst) {
            self.runtime.spawn(keep_opening(Arc::downgrade(self), Arc::clone(&self.asked)));
        }
    }

    /// Tries to connect. True if nothing is left to do.
    async fn try_open(self: &Arc<Self>) -> bool {
        let id = self.new_id();
        let connected = link::connect(&self.address, id, &self.settings).await;
        let done = match connected {
            Ok((link, driver)) => {
                count(&self.tally.counts.connects);
                self.add(link, driver);
                true
            }
            Err(error) => {
                tracing::debug!(address = self.address, %error, "cannot connect");
                count(&self.tally.counts.connects_failed);
                self.strike();
                // Where others stand, the next crowded call asks for another one.
                !self.links.load().is_empty()
            }
        };
        if done {
            self.opening.store(false, SeqCst);
            // What stood when it was looked at may have been lost since, by one who saw that somebody connects.
            self.see_to_it();
        }
        self.changed.notify_waiters();
        done
    }

    /// How long to wait before the next try, and whether that may be cut short.
    fn wait(&self) -> Option<(Duration, bool)> {
        let strikes = self.strikes.load(Relaxed);
        let idle = self.now_ms().saturating_sub(self.asked_ms.load(Relaxed)) > INTEREST.as_millis() as u64;
        let wait = match strikes {
            0 => return None,
            _ if idle => IDLE_BACKOFF,
            strikes => (FIRST_BACKOFF * (1 << (strikes - 1).min(10))).min(LONGEST_BACKOFF),
        };
        Some((wait + wait.mul_f64(rand::random_range(0.0..0.2)), idle))
    }

    fn new_id(&self) -> u64 {
        let mut last = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        *last += 1;
        *last
    }

    fn add(self: &Arc<Self>, link: Link, driver: Driver) {
        let (id, pool, settings) = (link.id, Arc::downgrade(self), Arc::clone(&self.settings));
        self.change(|links| links.push(Arc::new(link)));
        self.runtime.spawn(async move {
            link::drive(driver, &settings).await;
            if let Some(pool) = pool.upgrade() {
                pool.lost(id);
            }
        });
    }

    /// A connection takes no more calls.
    fn lost(self: &Arc<Self>, id: u64) {
        let mut of_use = None;
        self.change(|links| {
            of_use = links.iter().find(|link| link.id == id).map(|link| link.was_of_use());
            links.retain(|link| link.id != id);
        });
        // One that accepts and closes is no better than one that refuses.
        if of_use == Some(false) {
            self.strike();
        } else {
            self.see_to_it();
        }
        self.changed.notify_waiters();
    }

    /// A connection failed. Where none is left the address is down, and is tried again.
    fn strike(self: &Arc<Self>) {
        self.strikes.fetch_add(1, Relaxed);
        self.change(|_| {});
        self.see_to_it();
    }

    /// What is down is tried again, whoever is to notice that it is up.
    fn see_to_it(self: &Arc<Self>) {
        if self.is_down() {
            self.open();
        }
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Arc<Link>>)) {
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut links = Vec::clone(&self.links.load());
        change(&mut links);
        self.down.store(links.is_empty() && self.strikes.load(Relaxed) > 0, Relaxed);
        self.links.store(Arc::new(links));
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Tries until a connection stands or nobody has the pool any more.
async fn keep_opening(pool: Weak<Pool>, asked: Arc<Notify>) {
    while let Some(wait) = pool.upgrade().map(|pool| pool.wait()) {
        match wait {
            None => {}
            Some((wait, false)) => tokio::time::sleep(wait).await,
            Some((wait, true)) => {
                let _ = tokio::time::timeout(wait, asked.notified()).await;
            }
        }
        let Some(pool) = pool.upgrade() else { return };
        if pool.try_open().await {
            return;
        }
    }
}

/// Counts a call as waiting until dropped.
struct Waiting<'p>(&'p AtomicU32);

impl<'p> Waiting<'p> {
    fn new(waiting: &'p AtomicU32) -> Self {
        waiting.fetch_add(1, SeqCst);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let links = self.links.load().len();
        f.debug_struct("Pool").field("address", &self.address).field("links", &links).finish_non_exhaustive()
    }
}
