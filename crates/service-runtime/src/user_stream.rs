//! Long server streams of one user's data (OWN-9, OWN-15).
//!
//! Every message is proven by a fenced read: what it tells was so, and this cell was the user's home, so many
//! milliseconds after the stream was opened. The clock is read *before* the read, so that a receiver who counts from
//! when he opened the stream never takes a message for fresher than it is, however long it lay in buffers.
//!
//! A commit of this process wakes the user's streams at once. A stream that nothing woke tells each [`BEAT`] that it
//! lives, and needs no read for that as long as nobody else committed anything: one look at the database then speaks for
//! all idle streams of the process. When the user moves away the fence refuses, which ends the stream with `MOVED`; where
//! to go on stands in its messages.

use crate::{Context, status};
use cell_map::UserKey;
use futures_util::{Stream, stream};
use mesh_layers::MeshError;
use std::{
    sync::{Mutex as SyncMutex, PoisonError},
    time::{Duration, Instant},
};
use storage::{BoxFuture, Db, StorageError, Tx, Unseen, UserChanges, WorkError};
use tokio::{
    sync::Mutex,
    time::{sleep_until, timeout},
};
use tonic::Status;

/// How long a stream is silent at most, its check included: below the second that receivers count on.
const BEAT: Duration = Duration::from_millis(800);
/// Longest look at the database: it queues with the writers. A stream then reads for itself, which does not.
const LONGEST_LOOK: Duration = Duration::from_millis(200);
/// How long ago the process's last look at the database may have ended for another stream to rely on, whatever it found.
const SHARED: Duration = Duration::from_millis(100);

/// What a service tells in a stream of one user's data, and how far it has told it.
pub trait UserFeed: Clone + Send + 'static {
    /// What one message tells.
    type Item: Send + 'static;
    /// The service's own error.
    type Error: Into<Status> + Send + 'static;

    /// Reads in a fenced transaction what is to be told next. Nothing new: no item, and the present [`At`].
    fn next(self, tx: &mut Tx) -> BoxFuture<'_, Result<Found<Self>, WorkError<Self::Error>>>;
}

/// What a feed found.
#[derive(Debug)]
pub struct Found<F: UserFeed> {
    /// The feed, past what it found.
    pub feed: F,
    /// What is told.
    pub item: Option<F::Item>,
    /// What the receiver has when he has taken the item. While more follows this must not claim what is not told yet.
    pub at: At,
    /// Whether there is more to tell at once.
    pub more: bool,
}

/// Where a user's data stood.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct At {
    /// The owner's epoch.
    pub user_epoch: u64,
    /// The user's position.
    pub position: u64,
}

impl At {
    /// As a transaction sees it.
    ///
    /// # Errors
    /// If the database failed.
    pub async fn of(tx: &mut Tx) -> Result<Self, StorageError> {
        Ok(Self { user_epoch: tx.epochs().user.get(), position: tx.position().await? })
    }
}

/// A message of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told<T> {
    /// What it tells; none: only that nothing else happened.
    pub item: Option<T>,
    /// What the receiver then has.
    pub at: At,
    /// Whether with it everything was told that there was then.
    pub complete: bool,
    /// When that was proven: milliseconds from the opening of the stream to just before the read.
    pub elapsed_ms: u64,
}

/// The last look at the database, shared by the idle streams of a process.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    beat: Mutex<Option<Beat>>,
    latest: SyncMutex<Option<Unseen>>,
}

#[derive(Clone, Copy, Debug)]
struct Beat {
    /// Just before the look.
    looked: Instant,
    ended: Instant,
    /// None: it is not known, as the look failed or took too long.
    mark: Option<Unseen>,
}

impl Pulse {
    /// What the last look found, however old: a later look that finds the same speaks for the time between.
    fn latest(&self) -> Option<Unseen> {
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks, or takes what another stream has just seen: those that waited for one look do not each begin another.
    async fn look(&self, db: &Db) -> Beat {
        let mut beat = self.beat.lock().await;
        if let Some(beat) = *beat
            && beat.ended.elapsed() < SHARED
        {
            return beat;
        }
        let looked = Instant::now();
        // What is wrong with the database is told by the read that follows.
        let mark = timeout(LONGEST_LOOK, db.unseen()).await.ok().and_then(Result::ok).flatten();
        if mark.is_some() {
            *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = mark;
        }
        *beat.insert(Beat { looked, ended: Instant::now(), mark })
    }
}

impl Context {
    /// Opens a stream of a user's data: reads the first message, which a user at home elsewhere refuses like any call,
    /// and then tells every change, and each second that there was none. It ends with an error only: `MOVED` when the
    /// user's home changes, `CELL_DRAINING` when the process drains.
    ///
    /// # Errors
    /// If the first read fails.
    pub async fn user_stream<F: UserFeed>(
        &self,
        user: UserKey,
        feed: F,
    ) -> Result<impl Stream<Item = Result<Told<F::Item>, Status>> + Send + use<F>, Status> {
        let now = Instant::now();
        let mut teller = Teller {
            changes: self.db.changes(&user),
            context: self.clone(),
            user,
            feed: Some(feed),
            opened: now,
            read: now,
            told: now,
            at: At::default(),
            mark: None,
            more: false,
        };
        let first = teller.read().await?;
        Ok(stream::unfold((Some(teller), Some(first)), |(teller, first)| async {
            let mut teller = teller?;
            let told = match first {
                Some(first) => Ok(first),
                None => teller.next().await,
            };
            teller.told = Instant::now();
            let teller = told.is_ok().then_some(teller);
            Some((told, (teller, None)))
        }))
    }
}

struct Teller<F: UserFeed> {
    context: Context,
    user: UserKey,
    changes: UserChanges,
    /// None after a failed read, which is the end.
    feed: Option<F>,
    opened: Instant,
    /// Just before the last read.
    read: Instant,
    /// When the last message was given away.
    told: Instant,
    at: At,
    /// What was known of others' commits before the last read.
    mark: Option<Unseen>,
    more: bool,
}

impl<F: UserFeed> Teller<F> {
    /// The next message.
    async fn next(&mut self) -> Result<Told<F::Item>, Status> {
        let shutdown = self.context.shutdown.clone();
        loop {
            if shutdown.is_cancelled() {
                return Err(MeshError::cell_draining(&self.context.cell).into());
            }
            if self.more {
                return self.read().await;
            }
            let beat = tokio::select! {
                biased;
                () = shutdown.cancelled() => continue,
                () = self.changes.changed() => false,
                () = sleep_until((self.told + BEAT).into()) => true,
            };
            if beat && let Some(unchanged) = self.unchanged().await {
                return Ok(unchanged);
            }
            let before = self.at;
            let told = self.read().await?;
            if beat || told.item.is_some() || told.at != before {
                return Ok(told);
            }
        }
    }

    /// Reads what is new.
    async fn read(&mut self) -> Result<Told<F::Item>, Status> {
        // In this order, so that a commit after the read is noticed by one or the other.
        self.mark = self.context.pulse.latest();
        self.changes.mark_seen();
        self.read = Instant::now();
        let Some(feed) = self.feed.take() else { return Err(MeshError::internal("the stream has ended").into()) };
        let fence = self.context.fence(&self.user);
        let read = self.context.db.fenced_read(&fence, move |tx| feed.next(tx));
        let Found { feed, item, at, more } = read.await.map_err(status)?;
        (self.feed, self.at, self.more) = (Some(feed), at, more);
        Ok(self.say(item, self.read))
    }

    /// A message that nothing changed since the last read, if that is certain.
    async fn unchanged(&mut self) -> Option<Told<F::Item>> {
        // Where nothing was known before the last read, the read that follows has then something to be compared with.
        let beat = self.context.pulse.look(&self.context.db).await;
        let same = self.mark.is_some() && beat.mark == self.mark;
        (same && beat.looked > self.read && !self.changes.has_changed()).then(|| self.say(None, beat.looked))
    }

    fn say(&self, item: Option<F::Item>, proven: Instant) -> Told<F::Item> {
        let elapsed = proven.duration_since(self.opened).as_millis();
        Told { item, at: self.at, complete: !self.more, elapsed_ms: u64::try_from(elapsed).unwrap_or(u64::MAX) }
    }
}
