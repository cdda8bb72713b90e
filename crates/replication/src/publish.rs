//! Publishing: the stream that a follower needs, read from a copy that knows the sequence of each item's last change.
//!
//! A stream pulls: it reads the next piece when its caller takes one, so a slow follower costs one piece of memory and
//! no queue. It is woken by the writes of this process, and looks by itself at each heartbeat for those of others.

use crate::{Piece, Position};
use futures_util::{Stream, stream};
use std::{fmt, sync::Arc, time::Duration};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// How long a stream is silent at most.
pub const HEARTBEAT: Duration = Duration::from_secs(3);
/// Most streams of one feed.
pub const MAX_STREAMS: usize = 256;

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
type Message<L> = Result<Option<Piece<<L as Log>::Item>>, FeedError<<L as Log>::Error>>;

/// Why there is no stream, or no more of it.
#[derive(Debug, thiserror::Error)]
pub enum FeedError<E> {
    /// Too many followers.
    #[error("too many streams are open, at most {MAX_STREAMS} may")]
    TooManyStreams,
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
    streams: Arc<Semaphore>,
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
        let streams = Arc::new(Semaphore::new(MAX_STREAMS));
        Self(Arc::new(Shared { log, changes: watch::Sender::new(()), streams, shutdown }))
    }

    /// Wakes every stream: something was written.
    pub fn changed(&self) {
        self.0.changes.send_replace(());
    }

    /// The changes after a position, from a snapshot if it cannot be continued; `None` is a heartbeat. `allowed` is asked
    /// at once and before each piece.
    ///
    /// # Errors
    /// If it is not allowed, or too many streams are open.
    pub fn stream<A>(
        &self,
        after: Position,
        allowed: A,
    ) -> Result<impl Stream<Item = Message<L>> + use<L, A>, FeedError<L::Error>>
    where
        A: Fn() -> Result<(), L::Error> + Send + 'static,
    {
        allowed().map_err(FeedError::Log)?;
        let permit = Arc::clone(&self.0.streams).try_acquire_owned().map_err(|_| FeedError::TooManyStreams)?;
        let follower = Follower {
            wake: self.0.changes.subscribe(),
            feed: Arc::clone(&self.0),
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

struct Follower<L, A> {
    feed: Arc<Shared<L>>,
    allowed: A,
    state: State,
    wake: watch::Receiver<()>,
    _permit: OwnedSemaphorePermit,
}

impl<L: Log, A: Fn() -> Result<(), L::Error>> Follower<L, A> {
    /// The next message; `Some(None)` is a heartbeat, `None` the end.
    async fn next(&mut self) -> Result<Option<Option<Piece<L::Item>>>, FeedError<L::Error>> {
        let mut waited = false;
        loop {
            (self.allowed)().map_err(FeedError::Log)?;
            // Marked as seen before reading, so that a write after the read wakes us.
            self.wake.mark_unchanged();
            if let Some(piece) = self.piece().await? {
                return Ok(Some(Some(piece)));
            }
            if waited {
                return Ok(Some(None));
            }
            tokio::select! {
                () = self.feed.shutdown.cancelled() => return Ok(None),
                woken = timeout(HEARTBEAT, self.wake.changed()) => waited = woken.is_err(),
            }
        }
    }

    /// The next piece, if there is one.
    async fn piece(&mut self) -> Result<Option<Piece<L::Item>>, FeedError<L::Error>> {
        let from = match self.state {
            State::Known(position) | State::Snapshot(position) => position,
        };
        let Some((there, items)) = self.read(from.sequence).await? else { return Ok(None) };
        let continues = from.incarnation == there.incarnation && from.sequence <= there.sequence;
        match self.state {
            State::Known(_) if continues && items.is_empty() => Ok(None),
            State::Known(_) if continues => {
                let position = reached::<L>(there, &items);
                self.state = State::Known(position);
                Ok(Some(Piece { position, snapshot_start: false, snapshot_end: false, items }))
            }
            // Not a position of this history, or ahead of it: from the beginning.
            State::Known(_) => {
                let Some((there, items)) = self.read(0).await? else { return Ok(None) };
                Ok(Some(self.snapshot_piece(there, true, items)))
            }
            State::Snapshot(_) if continues => Ok(Some(self.snapshot_piece(there, false, items))),
            State::Snapshot(_) => Err(FeedError::Replaced),
        }
    }

    /// A piece of a snapshot. The snapshot ends with the piece that leaves nothing behind it, so that an item which
    /// changes meanwhile is in it with its newest state.
    fn snapshot_piece(&mut self, there: Position, start: bool, items: Vec<L::Item>) -> Piece<L::Item> {
        let end = items.len() < L::PIECE;
        let position = if end { there } else { reached::<L>(there, &items) };
        self.state = if end { State::Known(position) } else { State::Snapshot(position) };
        Piece { position, snapshot_start: start, snapshot_end: end, items }
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
