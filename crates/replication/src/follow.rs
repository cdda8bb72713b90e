//! Keeping a copy: following a stream for ever, or writing where this process is the writer.

use crate::{Assembler, Batch, Position, ReplicationError, Told};
use futures_util::{StreamExt as _, stream::BoxStream};
use std::{convert::Infallible, future::ready, time::Duration};
use tokio::time::{Instant, sleep, timeout};

/// Longest silence of a stream, which sends heartbeats each [`HEARTBEAT`](crate::HEARTBEAT).
pub const SILENCE: Duration = Duration::from_secs(15);
/// Most items of a snapshot unless a copy says otherwise: it is held in memory until complete and applied in one
/// transaction, which has 5 s.
pub const MAX_ITEMS: usize = 10_000;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How often a writer looks whether it is still the one.
const LOOK: Duration = Duration::from_secs(1);

/// What a stream brings.
pub type Messages<T, E> = BoxStream<'static, Result<Told<T>, E>>;

/// A copy of data that is written elsewhere, or now and then here.
pub trait Replica: Send {
    /// One of the data, as the copy holds it.
    type Item: Send + 'static;
    /// Why a stream breaks or the copy does not take a batch. The stream is then opened anew, after a pause.
    type Error: std::error::Error + Send;

    /// What it is, for the log.
    const NAME: &'static str;
    /// Most items of a snapshot.
    const MAX_ITEMS: usize = MAX_ITEMS;

    /// Where the copy stands; `None` if there is nothing yet. Asked before each stream: a copy that was the writer stops
    /// being it here.
    fn position(&mut self) -> impl Future<Output = Result<Option<Position>, Self::Error>> + Send;

    /// Opens the stream of what comes after a position (zero: of everything).
    fn open(
        &mut self,
        after: Position,
    ) -> impl Future<Output = Result<Messages<Self::Item, Self::Error>, Self::Error>> + Send;

    /// Applies a batch and its position, all of it or nothing, after [`Batch::check`].
    fn apply(&mut self, batch: Batch<Self::Item>) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// There is something to serve: called after each batch, and before a stream is opened if there was something already.
    fn applied(&mut self) {}

    /// The copy is complete as of then. Called once whatever makes it so was applied, before [`applied`](Self::applied).
    fn confirmed(&mut self, _as_of: Instant) {}

    /// Whether this process is the writer now. Asked before each message of a stream.
    fn is_writer(&self) -> bool {
        false
    }

    /// Takes the writing over, in a history later than this incarnation; returns where it goes on.
    fn begin(&mut self, _later_than: u64) -> impl Future<Output = Result<Position, Self::Error>> + Send {
        ready(Ok(Position::default()))
    }

    /// The latest incarnation that followers are known to have seen. If the writer's own is lower, another wrote in between
    /// without its knowing: it begins anew.
    fn latest_known(&self) -> u64 {
        0
    }
}

/// Why a stream was given up.
#[derive(Debug, thiserror::Error)]
pub enum FollowError<E> {
    /// Not even a heartbeat came.
    #[error("stream was silent for {} s", SILENCE.as_secs())]
    Silence,
    /// A piece does not fit.
    #[error(transparent)]
    Replication(#[from] ReplicationError),
    /// The stream broke, or the copy did not take a batch.
    #[error("{0}")]
    Copy(E),
}

/// Keeps a copy for ever: follows one stream after the other, with a pause between them that grows while nothing is
/// received. Cancel-safe if [`Replica::apply`] is.
pub async fn run<R: Replica>(mut replica: R) -> Infallible {
    let mut pause = FIRST_PAUSE;
    loop {
        let kept = if replica.is_writer() { write(&mut replica).await } else { follow(&mut replica, &mut pause).await };
        match kept {
            Ok(()) => tracing::debug!(copy = R::NAME, "stream ended or its source changed"),
            Err(error) => {
                tracing::warn!(copy = R::NAME, %error, pause_ms = pause.as_millis(), "copy is not kept up to date");
            }
        }
        // Half to all of the pause, so that followers do not come back all at once.
        sleep(pause.mul_f64(0.5 + rand::random::<f64>() / 2.0)).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Takes the writing over and waits until another is to do it, or did it.
async fn write<R: Replica>(replica: &mut R) -> Result<(), FollowError<R::Error>> {
    let position = replica.begin(replica.latest_known()).await.map_err(FollowError::Copy)?;
    tracing::info!(copy = R::NAME, position.incarnation, position.sequence, "written here from now on");
    replica.applied();
    while replica.is_writer() && replica.latest_known() <= position.incarnation {
        sleep(LOOK).await;
    }
    Ok(())
}

/// Follows one stream to its end. The pause is the first again whenever something was heard and applied.
async fn follow<R: Replica>(replica: &mut R, pause: &mut Duration) -> Result<(), FollowError<R::Error>> {
    let applied = replica.position().await.map_err(FollowError::Copy)?;
    if applied.is_some() {
        replica.applied();
    }
    let applied = applied.unwrap_or_default();
    // When the sender began to count, at the latest.
    let mut asked = Instant::now();
    let opened = timeout(SILENCE, replica.open(applied)).await.map_err(|_| FollowError::Silence)?;
    let mut messages = opened.map_err(FollowError::Copy)?;
    let mut assembler = Assembler::new(applied, R::MAX_ITEMS);
    while !replica.is_writer() {
        let next = timeout(SILENCE, messages.next()).await.map_err(|_| FollowError::Silence)?;
        let Some(message) = next else { return Ok(()) };
        let Told { piece, position, elapsed_ms, complete, behind_ms } = message.map_err(FollowError::Copy)?;
        // Where the sender's clock runs ahead of ours, it seems to have begun earlier.
        let (received, elapsed) = (Instant::now(), Duration::from_millis(elapsed_ms));
        asked = received.checked_sub(elapsed).map_or(asked, |begun| asked.min(begun));
        let batch = piece.map(|piece| assembler.take(piece)).transpose()?.flatten();
        let changed = batch.as_ref().map(|batch| (batch.items.len(), batch.position));
        if let Some(batch) = batch {
            replica.apply(batch).await.map_err(FollowError::Copy)?;
        }
        let as_of = asked.checked_add(elapsed).and_then(|then| then.checked_sub(Duration::from_millis(behind_ms)));
        if let Some(as_of) = as_of.filter(|_| complete && assembler.reaches(position)) {
            replica.confirmed(as_of);
        }
        if let Some((items, position)) = changed {
            tracing::debug!(copy = R::NAME, items, position.incarnation, position.sequence, "applied");
            replica.applied();
        }
        *pause = FIRST_PAUSE;
    }
    Ok(())
}
