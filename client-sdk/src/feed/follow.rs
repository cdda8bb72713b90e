//! Follows a feed: opens its stream, applies what it says, and opens it anew when it ends, is cut, falls silent or late.

use super::{
    Clock, Feed, LocalSettings, Moment, Position,
    pause::Pause,
    snapshot::Slot,
    track::{Step, Track, TrackError},
};
use crate::{
    Code, Error, Fresh, Method, MethodPolicy, ladder,
    wire::{Wire, WireCall},
};
use cell_map::{CellId, UserKey};
use prost::Message;
use shop_logic::Batch;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep, timeout},
};

/// Items that are applied before others get a turn of the thread.
const TURN: usize = 4096;

/// Why a stream was given up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FollowError {
    #[error(transparent)]
    Stream(#[from] Error),
    #[error("the stream ended")]
    Ended,
    #[error("the stream was silent for {} ms", .0.as_millis())]
    Silent(Duration),
    #[error("what the stream says is {} ms late", .0.as_millis())]
    Late(Duration),
    #[error(transparent)]
    Track(#[from] TrackError),
    #[error("unreadable message: {0}")]
    Unreadable(String),
    #[error("the snapshot takes {bytes} bytes, at most {max} are allowed")]
    TooLarge { bytes: usize, max: usize },
}

impl FollowError {
    /// Whether asking again soon is in vain.
    fn is_hopeless(&self) -> bool {
        match self {
            Self::TooLarge { .. } | Self::Unreadable(_) => true,
            Self::Stream(error) if error.domain() != "cellmesh" => matches!(
                error.code(),
                Code::Unimplemented
                    | Code::PermissionDenied
                    | Code::Unauthenticated
                    | Code::InvalidArgument
                    | Code::NotFound
                    | Code::FailedPrecondition
            ),
            _ => false,
        }
    }

    /// Whether the data must not be used any more.
    fn spoils(&self) -> bool {
        matches!(self, Self::TooLarge { .. }) || matches!(self, Self::Track(error) if error.spoils())
    }
}

/// What all feeds of a mesh need.
#[derive(Clone)]
pub(crate) struct Line {
    pub wire: Arc<dyn Wire>,
    pub clock: Clock,
    pub settings: Arc<LocalSettings>,
}

/// What was counted of one feed's streams.
#[derive(Debug, Default)]
pub(crate) struct StreamCounts {
    pub opened: AtomicU64,
    pub failed: AtomicU64,
}

/// Where the data of a stream goes.
pub(crate) trait Target<S>: Send + Sync {
    /// The snapshot's place.
    fn slot(&self) -> &Slot<S>;
    /// The snapshot takes so many bytes now.
    fn holds(&self, bytes: usize);
}

/// Follows one feed until it is dropped.
pub(crate) struct Follower<F: Feed, T> {
    pub line: Line,
    pub key: Option<UserKey>,
    pub target: T,
    pub counts: Arc<StreamCounts>,
    /// Limits how many streams are being opened.
    pub opening: Option<Arc<Semaphore>>,
    /// Makes the request.
    pub subscribe: Subscribe<F>,
}

/// Makes the request of a feed's stream.
pub(crate) type Subscribe<F> = fn(Option<&UserKey>, Option<Position>) -> <<F as Feed>::Stream as Method>::Request;

impl<F: Feed, T: Target<F::Snapshot>> Follower<F, T> {
    pub async fn run(self) {
        let mut pause = Pause::new();
        // Nothing below it is ever applied, whatever happens to the data.
        let mut floor = Position::default();
        let mut afresh = false;
        loop {
            let begun = Instant::now();
            let Err(error) = self.stream(&mut floor, afresh).await else { continue };
            self.counts.failed.fetch_add(1, Relaxed);
            afresh = matches!(&error, FollowError::Track(track) if !track.is_behind());
            if error.spoils() {
                self.target.slot().clear();
                self.target.holds(0);
            }
            let pause = pause.after(begun.elapsed(), error.is_hopeless(), rand::random());
            let (feed, key) = (<F::Stream as Method>::POLICY.path, self.key.as_ref());
            tracing::debug!(feed, key = key.map(tracing::field::display), %error, pause_ms = pause.as_millis(), "feed is cut");
            sleep(pause).await;
        }
    }

    /// Follows one stream to its planned end.
    async fn stream(&self, floor: &mut Position, afresh: bool) -> Result<(), FollowError> {
        let Line { wire, clock, settings } = &self.line;
        let mut permit = match &self.opening {
            Some(opening) => opening.acquire().await.ok(),
            None => None,
        };
        let policy: &'static MethodPolicy = const { &<F::Stream as Method>::POLICY };
        let applied = self.target.slot().see().map(|seen| seen.position());
        *floor = applied.map_or(*floor, |applied| applied.max(*floor));
        let from = applied.filter(|_| !afresh);

        let opened = clock.now();
        let until = settings.longest_stream.mul_f64(1.0 - rand::random::<f64>() / 10.0);
        let lasts = policy.max_deadline.map_or(until, |max| until.min(max));
        let call = WireCall {
            policy,
            frame: ladder::frame(&(self.subscribe)(self.key.as_ref(), from)),
            key: self.key.clone(),
            deadline: (Instant::now() + lasts + settings.silence()).into_std(),
            fresh: Fresh::Any,
            metadata: None,
        };
        self.counts.opened.fetch_add(1, Relaxed);
        let silence = settings.silence();
        let silent = |_| FollowError::Silent(silence);
        let mut stream = timeout(silence, wire.stream(call)).await.map_err(silent)??;
        let mut track = Track::new(opened, from, *floor);
        let mut snapshot_bytes = 0;
        loop {
            let held = clock.now().since(opened);
            let Some(left) = lasts.checked_sub(held) else { return Ok(()) };
            let next = match timeout(silence.min(left), stream.next()).await {
                Ok(next) => next?.ok_or(FollowError::Ended)?,
                Err(_) if left <= silence => return Ok(()),
                Err(elapsed) => return Err(silent(elapsed)),
            };
            let received = clock.now();
            let max = settings.max_snapshot_bytes;
            let message = <F::Stream as Method>::Response::decode(&next[..]);
            let message = message.map_err(|error| FollowError::Unreadable(error.to_string()))?;
            let step = track.take(received, F::read(message).map_err(FollowError::Unreadable)?)?;
            if track.in_snapshot() {
                snapshot_bytes += next.len();
                if snapshot_bytes > max {
                    return Err(FollowError::TooLarge { bytes: snapshot_bytes, max });
                }
                continue;
            }
            snapshot_bytes = 0;
            match step {
                None => {}
                Some(Step::Confirm(position, as_of)) => {
                    self.target.slot().confirm(position, as_of);
                    (*floor, permit) = (position, None);
                }
                Some(Step::Apply(batch, as_of)) => {
                    (*floor, permit) = (batch.position, None);
                    self.apply(batch, as_of, stream.cell().cloned()).await?;
                }
            }
            self.check_late(clock.now().since(opened))?;
        }
    }

    /// Puts a batch on top of a copy of what is there, and shows the copy.
    async fn apply(&self, batch: Batch<F::Item>, as_of: Option<Moment>, cell: Option<CellId>) -> Result<(), FollowError> {
        let slot = self.target.slot();
        let base = slot.see().filter(|_| !batch.replace);
        let mut data = base.map_or_else(F::Snapshot::default, |seen| seen.data.clone());
        for (at, item) in batch.items.into_iter().enumerate() {
            F::apply(&mut data, item);
            if at % TURN == TURN - 1 {
                tokio::task::yield_now().await;
            }
        }
        let (bytes, max) = (F::bytes(&data), self.line.settings.max_snapshot_bytes);
        if bytes > max {
            return Err(FollowError::TooLarge { bytes, max });
        }
        slot.publish(data, batch.position, as_of, cell, self.line.clock.now());
        self.target.holds(bytes);
        Ok(())
    }

    /// Gives up a stream whose messages come, but long after they were sent.
    fn check_late(&self, held: Duration) -> Result<(), FollowError> {
        let bound = self.line.settings.lease * 2;
        let age = self.target.slot().see().map(|seen| self.line.clock.now().since(seen.confirmed()));
        match age {
            Some(age) if age.min(held) > bound => Err(FollowError::Late(age)),
            _ => Ok(()),
        }
    }
}
