//! Follows a feed: opens its stream, applies what it says, and opens it anew when it ends, is cut, falls silent or late.

use super::{
    Clock, Feed, FeedEvent, LocalSettings, Moment, Position,
    opening::Openings,
    pause::Pause,
    snapshot::Place,
    stream_counts::StreamCounts,
    track::{Batch, Step, Track, TrackError},
};
use crate::{
    Code, Error, Fresh, Method, MethodPolicy, ladder,
    wire::{Wants, Wire, WireCall, WireStream},
};
use cell_map::UserKey;
use futures_util::FutureExt;
use prost::Message;
use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};
use tokio::{
    task::consume_budget,
    time::{Instant, sleep, timeout},
};

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
    #[error("the feed's own code panicked")]
    Panicked,
}

impl FollowError {
    /// Whether asking again soon is in vain.
    fn is_hopeless(&self) -> bool {
        match self {
            Self::TooLarge { .. } | Self::Unreadable(_) | Self::Panicked => true,
            Self::Stream(error) => {
                matches!(error.code(), Code::Unimplemented | Code::PermissionDenied | Code::Unauthenticated)
                    || error.refuses_request()
            }
            _ => false,
        }
    }

    /// Whether what was applied must not be used any more: it may lack something, or is too large.
    fn spoils(&self) -> bool {
        matches!(self, Self::TooLarge { .. } | Self::Panicked | Self::Track(TrackError::Disordered { .. }))
    }

    /// Whether everything is to be asked for: there is nothing to go on from, or another home has to tell.
    fn begins_anew(&self) -> bool {
        match self {
            Self::Track(error) => !matches!(error, TrackError::Behind { .. }),
            Self::Stream(error) => {
                error.domain() == "cellmesh" && matches!(error.reason(), Some("MOVED" | "WRONG_CELL"))
            }
            _ => self.spoils(),
        }
    }
}

/// What all feeds of a mesh need.
#[derive(Clone)]
pub(crate) struct Line {
    pub wire: Arc<dyn Wire>,
    pub clock: Clock,
    pub settings: Arc<LocalSettings>,
}

/// Where the data of a stream goes.
pub(crate) trait Target<S>: Send + Sync {
    /// The snapshot's place.
    fn place(&self) -> &Place<S>;
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
    pub opening: Option<Arc<Openings>>,
    /// Makes the request.
    pub subscribe: Subscribe<F>,
}

/// Makes the request of a feed's stream.
pub(crate) type Subscribe<F> = fn(Option<&UserKey>, Option<Position>) -> <<F as Feed>::Stream as Method>::Request;

/// An opened stream.
struct Open<I> {
    stream: Box<dyn WireStream>,
    track: Track<I>,
    /// When it was asked for.
    at: Moment,
    /// How long it is followed.
    lasts: Duration,
}

impl<F: Feed, T: Target<F::Snapshot>> Follower<F, T> {
    pub async fn run(self) {
        let mut pause = Pause::new();
        // Nothing below it is ever applied, whatever happens to the data.
        let mut floor = Position::default();
        let mut afresh = false;
        loop {
            let begun = Instant::now();
            // A feed is code of others. What it held when it panicked is not looked at any more.
            let followed = AssertUnwindSafe(self.stream(&mut floor, afresh)).catch_unwind().await;
            let Err(error) = followed.unwrap_or(Err(FollowError::Panicked)) else {
                afresh = false;
                continue;
            };
            self.counts.failed.fetch_add(1, Relaxed);
            afresh = error.begins_anew();
            if error.spoils() {
                self.target.place().clear();
                self.target.holds(0);
            }
            let (feed, hopeless) = (<F::Stream as Method>::POLICY.path, error.is_hopeless());
            if matches!(error, FollowError::Panicked) {
                self.counts.panicked();
                tracing::error!(feed, "a feed's own code panicked: the local logics that use it are switched off");
            }
            let pause = pause.after(begun.elapsed(), hopeless, rand::random());
            if hopeless {
                tracing::warn!(feed, %error, pause_ms = pause.as_millis(), "feed cannot be followed");
            } else {
                tracing::debug!(feed, %error, pause_ms = pause.as_millis(), "feed is cut");
            }
            sleep(pause).await;
        }
    }

    /// Follows one stream to its planned end.
    async fn stream(&self, floor: &mut Position, afresh: bool) -> Result<(), FollowError> {
        let mut opening = match &self.opening {
            Some(opening) => {
                let key = self.key.as_ref().map(UserKey::as_bytes);
                opening.begin(self.line.wire.destination(&<F::Stream as Method>::POLICY, key)).await
            }
            None => None,
        };
        let Open { mut stream, mut track, at, lasts } = self.open(*floor, afresh).await?;
        let Line { clock, settings, .. } = &self.line;
        let silence = settings.silence();
        let mut snapshot_bytes = 0;
        loop {
            let Some(left) = lasts.checked_sub(clock.now().since(at)) else { return Ok(()) };
            let bytes = match timeout(silence.min(left), stream.next()).await {
                Ok(next) => next?.ok_or(FollowError::Ended)?,
                Err(_) if left <= silence => return Ok(()),
                Err(_) => return Err(FollowError::Silent(silence)),
            };
            let received = clock.now();
            let message = <F::Stream as Method>::Response::decode(&bytes[..]);
            let message = message.map_err(|error| FollowError::Unreadable(error.to_string()))?;
            let message = F::read(message).map_err(FollowError::Unreadable)?;
            if matches!(&message.event, FeedEvent::Piece(piece) if piece.snapshot_start) {
                snapshot_bytes = 0;
            }
            let step = track.take(received, message)?;
            if track.in_snapshot() {
                snapshot_bytes += bytes.len();
                self.check_size(snapshot_bytes)?;
                continue;
            }
            snapshot_bytes = 0;
            if let Some(step) = step {
                *floor = self.apply(step).await?;
                drop(opening.take());
            }
            self.check_late(clock.now().since(at))?;
        }
    }

    async fn open(&self, floor: Position, afresh: bool) -> Result<Open<F::Item>, FollowError> {
        let Line { wire, clock, settings } = &self.line;
        let policy: &'static MethodPolicy = const { &<F::Stream as Method>::POLICY };
        let from = self.target.place().see().map(|seen| seen.position()).filter(|_| !afresh);
        let longest = policy.max_deadline.map_or(settings.longest_stream, |max| max.min(settings.longest_stream));
        let lasts = longest.mul_f64(1.0 - rand::random::<f64>() / 10.0);
        let at = clock.now();
        let call = WireCall {
            policy,
            frame: ladder::frame(&(self.subscribe)(self.key.as_ref(), from))?,
            key: self.key.clone(),
            deadline: (Instant::now() + longest).into_std(),
            fresh: Fresh::Any,
            metadata: None,
            wants: Wants::default(),
        };
        self.counts.opened.fetch_add(1, Relaxed);
        let silence = settings.silence();
        let opened = timeout(silence, wire.stream(call)).await;
        let stream = opened.map_err(|_| FollowError::Silent(silence))??;
        Ok(Open { stream, track: Track::new(at, from, floor), at, lasts })
    }

    /// Does what a message comes to; up to where the data goes then.
    async fn apply(&self, step: Step<F::Item>) -> Result<Position, FollowError> {
        let place = self.target.place();
        let Batch { replace, items, position, as_of } = match step {
            Step::Apply(batch) => batch,
            Step::Confirm(position, as_of) => {
                place.confirm(position, as_of);
                return Ok(position);
            }
        };
        // On top of a copy, so that whoever looks at what is there goes on undisturbed.
        let base = place.see().filter(|_| !replace);
        let mut data = base.map_or_else(F::Snapshot::default, |seen| seen.data.clone());
        for item in items {
            F::apply(&mut data, item);
            // A large snapshot does not keep a thread to itself.
            consume_budget().await;
        }
        let bytes = F::bytes(&data);
        self.check_size(bytes)?;
        place.publish(data, position, as_of, self.line.clock.now());
        self.target.holds(bytes);
        Ok(position)
    }

    fn check_size(&self, bytes: usize) -> Result<(), FollowError> {
        let max = self.line.settings.max_snapshot_bytes;
        if bytes > max { Err(FollowError::TooLarge { bytes, max }) } else { Ok(()) }
    }

    /// Gives up a stream whose messages come, but long after they were sent.
    fn check_late(&self, held: Duration) -> Result<(), FollowError> {
        let bound = self.line.settings.lease * 2;
        let age = self.target.place().see().map(|seen| self.line.clock.now().since(seen.confirmed()));
        match age {
            Some(age) if age.min(held) > bound => Err(FollowError::Late(age)),
            _ => Ok(()),
        }
    }
}
