//! Publishing: the stream that a follower needs, read from a copy that knows the sequence of each item's last change.
//!
//! A stream pulls: it reads the next piece when its caller takes one, so a slow follower costs one piece of memory and
//! no queue. It is woken by the writes of this process, and looks by itself at each heartbeat for those of others.

use crate::{Piece, Position};
use futures_util::{Stream, stream};
use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinError,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

/// How long a stream is silent at most.
pub const HEARTBEAT: Duration = Duration::from_secs(3);
/// Most streams of one feed that processes of the mesh hold.
pub const MAX_STREAMS: usize = 256;
/// Most streams of one feed that everybody else holds. Counted apart: strangers keep no cell from its copy.
pub const MAX_CLIENT_STREAMS: usize = 1024;

/// Data as its own change log: each item carries the sequence of its last change, so "everything after sequence s" needs
/// no log that would have to be trimmed. Items change and never go; what ends says so in its state.
pub trait Log: Send + Sync + 'static {
    /// One of the data.
    type Item: Send + 'static;
    /// Why it cannot be read.
    type Error: Send + 'static;

    /// Most items of one piece, which must fit into one message.
    const PIECE: usize = 32;

    /// From one snapshot: where the copy stands, and the first `limit` items whose last change came after a sequence, in
    /// the order of their changes. `None` if there is nothing yet.
    fn read(&self, after: u64, limit: usize) -> impl Future<Output = Result<LogPage<Self::Item>, Self::Error>> + Send;

    /// The sequence of an item's last change.
    fn sequence(item: &Self::Item) -> u64;
}

type LogPage<T> = Option<(Position, Vec<T>)>;
type Message<L> = Result<Told<<L as Log>::Item>, FeedError<<L as Log>::Error>>;

/// A message of a feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told<T> {
    /// What changed; none in a heartbeat.
    pub piece: Option<Piece<T>>,
    /// Up to where everything was sent with this message; within a snapshot, the position of its piece.
    pub position: Position,
    /// Milliseconds from the opening of the stream to just before that was read. Who counts it from when he asked for the
    /// stream never takes data for fresher than it is, however long a message lay in buffers.
    pub elapsed_ms: u64,
    /// Whether everything was sent that there was at `elapsed_ms`.
    pub complete: bool,
    /// How far the sender was behind the writer then, at most, in milliseconds: 0 if it is the writer.
    pub behind_ms: u64,
}

/// How data stands that is published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// A copy of which nothing is known yet: it may lack anything.
    #[default]
    Unknown,
    /// A copy that was complete then.
    CopyAsOf(Instant),
    /// Written here, so it lacks nothing.
    Writer,
}

/// Who follows a feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// A process of the mesh, which has proven it.
    Mesh,
    /// Anybody else.
    Client,
}

/// Why there is no stream, or no more of it.
#[derive(Debug, thiserror::Error)]
pub enum FeedError<E> {
    /// Too many followers.
    #[error("too many streams are open, at most {max} may")]
    TooManyStreams {
        /// Most of them.
        max: usize,
    },
    /// The snapshot that was being sent is of no history any more.
    #[error("the data began a new history while its snapshot was sent")]
    Replaced,
    /// The log cannot be read, or not by this follower.
    #[error("{0}")]
    Log(E),
}

/// Streams of a log's changes. Cheap to clone.
pub struct Feed<L>(Arc<Shared<L>>);

struct Shared<L> {
    log: L,
    changes: watch::Sender<()>,
    of_mesh: Arc<Semaphore>,
    of_clients: Arc<Semaphore>,
    source: Mutex<Source>,
    /// The latest history that a process of the mesh came with.
    latest: AtomicU64,
    shutdown: CancellationToken,
}

impl<L> Clone for Feed<L> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<L> fmt::Debug for Feed<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed").finish_non_exhaustive()
    }
}

impl<L: Log> Feed<L> {
    /// The feed of a log; its streams end when `shutdown` is cancelled.
    #[must_use]
    pub fn new(log: L, shutdown: CancellationToken) -> Self {
        let streams = |most| Arc::new(Semaphore::new(most));
        Self(Arc::new(Shared {
            log,
            changes: watch::Sender::new(()),
            of_mesh: streams(MAX_STREAMS),
            of_clients: streams(MAX_CLIENT_STREAMS),
            source: Mutex::default(),
            latest: AtomicU64::new(0),
            shutdown,
        }))
    }

    /// Says how the data stands, after it came to stand so. At first nothing is known.
    pub fn stands(&self, source: Source) {
        *self.0.source.lock().unwrap_or_else(PoisonError::into_inner) = source;
    }

    /// The latest incarnation that a process of the mesh followed from. A writer whose own is lower was not the only one.
    #[must_use]
    pub fn latest_known(&self) -> u64 {
        self.0.latest.load(Ordering::Relaxed)
    }

    /// Wakes every stream: something was written.
    pub fn changed(&self) {
        self.0.changes.send_replace(());
    }

    /// Carries out a write and wakes every stream: in a task of its own, for a transaction goes on when its caller leaves,
    /// and so must what follows on it.
    ///
    /// # Errors
    /// If the write panics, or the process ends under it.
    pub async fn write<T: Send + 'static>(
        &self,
        write: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, JoinError> {
        let feed = self.clone();
        let write = async move {
            let written = write.await;
            feed.changed();
            written
        };
        tokio::spawn(write.in_current_span()).await
    }

    /// The changes after a position, from a snapshot if it cannot be continued, and heartbeats. `clock` dates the messages;
    /// `allowed` is asked at once and before each of them.
    ///
    /// # Errors
    /// If it is not allowed, or too many streams are open.
    pub fn stream<C, A>(
        &self,
        who: Who,
        after: Position,
        clock: C,
        allowed: A,
    ) -> Result<impl Stream<Item = Message<L>> + use<L, C, A>, FeedError<L::Error>>
    where
        C: Fn() -> Instant + Send + 'static,
        A: Fn() -> Result<(), L::Error> + Send + 'static,
    {
        allowed().map_err(FeedError::Log)?;
        let (streams, max) = match who {
            Who::Mesh => (&self.0.of_mesh, MAX_STREAMS),
            Who::Client => (&self.0.of_clients, MAX_CLIENT_STREAMS),
        };
        let permit = Arc::clone(streams).try_acquire_owned().map_err(|_| FeedError::TooManyStreams { max })?;
        if who == Who::Mesh {
            self.0.latest.fetch_max(after.incarnation, Ordering::Relaxed);
        }
        let follower = Follower {
            wake: self.0.changes.subscribe(),
            feed: Arc::clone(&self.0),
            opened: clock(),
            clock,
            allowed,
            state: State::Known(after),
            _permit: permit,
        };
        Ok(stream::unfold(Some(follower), |follower| async {
            let mut follower = follower?;
            match follower.next().await {
                Ok(Some(message)) => Some((Ok(message), Some(follower))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        }))
    }
}

/// Where a follower is.
#[derive(Clone, Copy, Debug)]
enum State {
    /// Has everything up to here.
    Known(Position),
    /// Inside a snapshot: was sent all items up to here.
    Snapshot(Position),
}

struct Follower<L, C, A> {
    feed: Arc<Shared<L>>,
    opened: Instant,
    clock: C,
    allowed: A,
    state: State,
    wake: watch::Receiver<()>,
    _permit: OwnedSemaphorePermit,
}

/// What one reading gave.
struct Found<T> {
    piece: Option<Piece<T>>,
    position: Position,
    complete: bool,
}

impl<L: Log, C: Fn() -> Instant, A: Fn() -> Result<(), L::Error>> Follower<L, C, A> {
    /// The next message; `None` is the end.
    async fn next(&mut self) -> Result<Option<Told<L::Item>>, FeedError<L::Error>> {
        // Wakes that bring nothing do not put it off.
        let heartbeat = Instant::now() + HEARTBEAT;
        let mut waited = false;
        loop {
            (self.allowed)().map_err(FeedError::Log)?;
            // Marked as seen, and dated, before reading: a write after the read wakes us, and is not claimed to be told.
            self.wake.mark_unchanged();
            let looked = (self.clock)();
            let behind_ms = self.feed.behind_ms(looked);
            let Found { piece, position, complete } = self.find().await?;
            if piece.is_some() || waited {
                let elapsed_ms = millis(looked.saturating_duration_since(self.opened));
                return Ok(Some(Told { piece, position, elapsed_ms, complete, behind_ms }));
            }
            tokio::select! {
                () = self.feed.shutdown.cancelled() => return Ok(None),
                () = sleep_until(heartbeat) => waited = true,
                _ = self.wake.changed() => {}
            }
        }
    }

    /// What is to be told next, and up to where everything is told then.
    async fn find(&mut self) -> Result<Found<L::Item>, FeedError<L::Error>> {
        let from = match self.state {
            State::Known(position) | State::Snapshot(position) => position,
        };
        let nothing = Found { piece: None, position: Position::default(), complete: false };
        let Some((there, items)) = self.read(from.sequence).await? else { return Ok(nothing) };
        let continues = from.incarnation == there.incarnation && from.sequence <= there.sequence;
        match self.state {
            State::Known(_) if continues => {
                let complete = items.len() < L::PIECE;
                let position = if complete { there } else { reached::<L>(there, &items) };
                self.state = State::Known(position);
                let piece = Piece { position, snapshot_start: false, snapshot_end: false, items };
                Ok(Found { piece: (!piece.items.is_empty()).then_some(piece), position, complete })
            }
            // Not a position of this history, or ahead of it: from the beginning.
            State::Known(_) => {
                let Some((there, items)) = self.read(0).await? else { return Ok(nothing) };
                Ok(self.snapshot_piece(there, true, items))
            }
            State::Snapshot(_) if continues => Ok(self.snapshot_piece(there, false, items)),
            State::Snapshot(_) => Err(FeedError::Replaced),
        }
    }

    /// A piece of a snapshot. The snapshot ends with the piece that leaves nothing behind it, so that an item which
    /// changes meanwhile is in it with its newest state.
    fn snapshot_piece(&mut self, there: Position, start: bool, items: Vec<L::Item>) -> Found<L::Item> {
        let end = items.len() < L::PIECE;
        let position = if end { there } else { reached::<L>(there, &items) };
        self.state = if end { State::Known(position) } else { State::Snapshot(position) };
        let piece = Piece { position, snapshot_start: start, snapshot_end: end, items };
        Found { piece: Some(piece), position, complete: end }
    }

    async fn read(&mut self, after: u64) -> Result<LogPage<L::Item>, FeedError<L::Error>> {
        self.feed.log.read(after, L::PIECE).await.map_err(FeedError::Log)
    }
}

/// The position after these items.
fn reached<L: Log>(there: Position, items: &[L::Item]) -> Position {
    let sequence = items.last().map_or(there.sequence, L::sequence);
    Position { sequence, ..there }
}

impl<L> Shared<L> {
    /// How many milliseconds the data may lag behind its writer.
    fn behind_ms(&self, now: Instant) -> u64 {
        match *self.source.lock().unwrap_or_else(PoisonError::into_inner) {
            Source::Unknown => u64::MAX,
            // Up to the next millisecond: never less than it is.
            Source::CopyAsOf(then) => millis(now.saturating_duration_since(then)).saturating_add(1),
            Source::Writer => 0,
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
