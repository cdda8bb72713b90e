//! Users' data: a stream for each user that calls are made about, opened at the first of them, closed some time after the
//! last; bounded in number and bytes.

use super::{
    Moment, UserFeed,
    feeds::{FeedReport, FeedStats},
    follow::{Follower, Line, Target},
    opening::Openings,
    shards::{Keyed, Shards},
    snapshot::{Place, Seen},
    stream_counts::StreamCounts,
};
use crate::Method;
use cell_map::UserKey;
use std::{
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{runtime::Handle, task::AbortHandle, time::sleep};
use tokio_util::task::AbortOnDropHandle;

/// For how long nobody is let in once no room was found.
const FULL: Duration = Duration::from_millis(100);
/// Bytes of a user who was thrown out.
const GONE: usize = usize::MAX;

/// The data of a feed's users.
pub struct Users<F: UserFeed> {
    inner: Arc<Inner<F>>,
    _janitor: AbortOnDropHandle<()>,
}

struct Inner<F: UserFeed> {
    users: Shards<User<F::Snapshot>>,
    line: Line,
    runtime: Handle,
    opening: Arc<Openings>,
    streams: Arc<StreamCounts>,
    /// Bytes of all users.
    bytes: AtomicUsize,
    /// Nobody is let in before.
    full_until: AtomicI64,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    closed_idle: AtomicU64,
    evicted: AtomicU64,
    refused: AtomicU64,
    first_data_ns: AtomicU64,
}

struct User<S> {
    key: UserKey,
    hash: u64,
    /// In seconds, so that it is written once a second at most.
    used: AtomicU32,
    bytes: AtomicUsize,
    place: Place<S>,
    task: OnceLock<AbortHandle>,
}

impl<S> Keyed for User<S> {
    fn key(&self) -> &[u8] {
        self.key.as_bytes()
    }
    fn hash(&self) -> u64 {
        self.hash
    }
    fn used(&self) -> u32 {
        self.used.load(Relaxed)
    }
}

impl<S> User<S> {
    fn touch(&self, now: Moment) {
        let now = now.seconds();
        if self.used.load(Relaxed) != now {
            self.used.store(now, Relaxed);
        }
    }

    /// Ends his stream; his bytes.
    fn end(&self) -> usize {
        self.task.get().map(AbortHandle::abort);
        match self.bytes.swap(GONE, Relaxed) {
            GONE => 0,
            bytes => bytes,
        }
    }
}

impl<F: UserFeed> Users<F> {
    /// Without any user. Streams run on the runtime that this is called in.
    pub(crate) fn new(line: Line, streams: Arc<StreamCounts>) -> Self {
        let settings = &line.settings;
        let inner = Arc::new(Inner {
            users: Shards::new(settings.max_users),
            opening: Arc::new(Openings::new(settings.max_opening)),
            runtime: Handle::current(),
            streams,
            bytes: AtomicUsize::new(0),
            full_until: AtomicI64::new(i64::MIN),
            counts: Counts::default(),
            line,
        });
        let janitor = tokio::spawn(close_idle(Arc::clone(&inner)));
        Self { inner, _janitor: AbortOnDropHandle::new(janitor) }
    }

    /// A user's data. If he is not followed, his stream is opened, for the calls after this one.
    pub(crate) fn see(&self, key: &[u8], now: Moment) -> Option<Seen<F::Snapshot>> {
        let inner = &*self.inner;
        let hash = inner.users.hash(key);
        let seen = inner.users.read(key, hash, |user| {
            user.touch(now);
            user.place.see()
        });
        seen.unwrap_or_else(|| {
            Inner::open(&self.inner, key, hash, now);
            None
        })
    }
}

impl<F: UserFeed> Inner<F> {
    /// Begins to follow a user, if there is room.
    #[cold]
    fn open(self: &Arc<Self>, key: &[u8], hash: u64, now: Moment) {
        let Ok(user_key) = UserKey::from_bytes(key) else { return };
        if !self.has_room(now) {
            self.counts.refused.fetch_add(1, Relaxed);
            return;
        }
        self.users.insert(key, hash, || {
            let user = Arc::new(User {
                key: user_key.clone(),
                hash,
                used: AtomicU32::new(now.seconds()),
                bytes: AtomicUsize::new(0),
                place: Place::new(self.line.clock),
                task: OnceLock::new(),
            });
            let follower = Follower::<F, _> {
                line: self.line.clone(),
                key: Some(user_key),
                target: Kept { user: Arc::clone(&user), users: Arc::downgrade(self) },
                counts: Arc::clone(&self.streams),
                opening: Some(Arc::clone(&self.opening)),
                subscribe: |key, from| F::subscribe(key.expect("a feed of users has a key"), from),
            };
            let _ = user.task.set(self.runtime.spawn(follower.run()).abort_handle());
            user
        });
    }

    /// Whether another user may come in, one that nobody asked about for a lease's time going out for him.
    fn has_room(self: &Arc<Self>, now: Moment) -> bool {
        let settings = &self.line.settings;
        // Some bytes are kept free for those whose data is on its way: whoever comes must not throw out who is in use.
        let (most_users, most_bytes) = (settings.max_users, settings.max_users_bytes / 8 * 7);
        while self.users.len() >= most_users || self.bytes.load(Relaxed) > most_bytes {
            if now.0 < self.full_until.load(Relaxed) {
                return false;
            }
            let bound = now.earlier(settings.lease).seconds();
            let Some(old) = self.users.old(rand::random(), |user| user.used() < bound) else {
                self.full_until.store(now.later(FULL).0, Relaxed);
                return false;
            };
            self.evict(&old);
        }
        true
    }

    fn evict(&self, user: &Arc<User<F::Snapshot>>) {
        if self.users.remove(user) {
            self.counts.evicted.fetch_add(1, Relaxed);
        }
        self.bytes.fetch_sub(user.end(), Relaxed);
    }

    /// A user's data takes so many bytes now: others go out if that is too much, or he.
    fn holds(&self, user: &User<F::Snapshot>, bytes: usize) {
        // First: whoever lets the user go meanwhile takes away what was added.
        self.bytes.fetch_add(bytes, Relaxed);
        let Ok(before) = user.bytes.fetch_update(Relaxed, Relaxed, |before| (before != GONE).then_some(bytes)) else {
            self.bytes.fetch_sub(bytes, Relaxed);
            return;
        };
        self.bytes.fetch_sub(before, Relaxed);
        if let Some(first) = user.place.first() {
            self.counts.first_data_ns.store(u64::try_from(first.as_nanos()).unwrap_or(u64::MAX), Relaxed);
        }
        while self.bytes.load(Relaxed) > self.line.settings.max_users_bytes {
            let Some(old) = self.users.old(rand::random(), |user| user.bytes.load(Relaxed) > 0) else { return };
            self.evict(&old);
        }
    }
}

impl<F: UserFeed> Drop for Inner<F> {
    fn drop(&mut self) {
        self.users.retain(|user| {
            user.end();
            true
        });
    }
}

/// Closes the streams of users that nobody asks about, until it is dropped.
async fn close_idle<F: UserFeed>(inner: Arc<Inner<F>>) {
    let idle = inner.line.settings.idle;
    loop {
        sleep((idle / 4).max(Duration::from_millis(100))).await;
        let bound = inner.line.clock.now().earlier(idle).seconds();
        for user in inner.users.retain(|user| user.used() >= bound) {
            inner.bytes.fetch_sub(user.end(), Relaxed);
            inner.counts.closed_idle.fetch_add(1, Relaxed);
        }
    }
}

struct Kept<F: UserFeed> {
    user: Arc<User<F::Snapshot>>,
    users: Weak<Inner<F>>,
}

impl<F: UserFeed> Target<F::Snapshot> for Kept<F> {
    fn place(&self) -> &Place<F::Snapshot> {
        &self.user.place
    }

    fn holds(&self, bytes: usize) {
        if let Some(users) = self.users.upgrade() {
            users.holds(&self.user, bytes);
        }
    }
}

impl<F: UserFeed> FeedReport for Users<F> {
    fn counts(&self) -> &StreamCounts {
        &self.inner.streams
    }

    fn report(&self) -> FeedStats {
        let inner = &*self.inner;
        let first = inner.counts.first_data_ns.load(Relaxed);
        FeedStats {
            method: <F::Stream as Method>::POLICY.path,
            snapshots: inner.users.len(),
            bytes: inner.bytes.load(Relaxed),
            streams_opened: inner.streams.opened.load(Relaxed),
            streams_failed: inner.streams.failed.load(Relaxed),
            panics: inner.streams.panics(),
            first_data: (first > 0).then(|| Duration::from_nanos(first)),
            closed_idle: inner.counts.closed_idle.load(Relaxed),
            evicted: inner.counts.evicted.load(Relaxed),
            refused: inner.counts.refused.load(Relaxed),
        }
    }
}
