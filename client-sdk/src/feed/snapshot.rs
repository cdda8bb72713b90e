//! A snapshot as callers see it, and how fresh it is.

use super::{Clock, Moment, Position};
use arc_swap::{ArcSwap, Guard};
use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// Numbers the states of all snapshots: two looks that see the same number saw the same data.
static VERSIONS: AtomicU64 = AtomicU64::new(1);

/// One state of a snapshot. Its data never changes; how long it has been known to be complete does.
#[derive(Debug)]
pub struct Published<S> {
    pub(crate) data: S,
    incarnation: u64,
    sequence: AtomicU64,
    confirmed: AtomicI64,
    /// 0: there is nothing.
    version: u64,
}

/// One state of a snapshot, held for a look.
pub(crate) type Seen<S> = Guard<Arc<Published<S>>>;

/// How data stands that is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    /// As of when it is complete.
    pub(crate) confirmed: Moment,
    /// A user's (user_epoch, position); none for global data.
    pub(crate) user: Option<Position>,
    /// Its state: the same number, the same data.
    pub(crate) version: u64,
}

impl Standing {
    /// Of nothing.
    pub(crate) const BEST: Self = Self { confirmed: Moment(i64::MAX), user: None, version: 0 };

    /// Of two things looked at together: as good as the worse one.
    pub(crate) fn with(self, other: Self) -> Self {
        let user = match (self.user, other.user) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        let version = self.version.wrapping_add(other.version);
        // Versions only grow: sums are equal only if both parts are.
        Self { confirmed: self.confirmed.min(other.confirmed), user, version }
    }
}

impl<S> Published<S> {
    fn new(data: S, position: Position, confirmed: Moment, version: u64) -> Self {
        let (sequence, confirmed) = (AtomicU64::new(position.sequence), AtomicI64::new(confirmed.0));
        Self { data, incarnation: position.incarnation, sequence, confirmed, version }
    }

    /// Up to where it is complete.
    pub(crate) fn position(&self) -> Position {
        Position { incarnation: self.incarnation, sequence: self.sequence.load(Relaxed) }
    }

    /// As of when it is complete.
    pub(crate) fn confirmed(&self) -> Moment {
        Moment(self.confirmed.load(Relaxed))
    }

    /// How the data stands.
    pub(crate) fn standing(&self) -> Standing {
        Standing { confirmed: self.confirmed(), user: Some(self.position()), version: self.version }
    }
}

/// The place of one snapshot: written by the task that follows its feed, read by everybody.
#[derive(Debug)]
pub(crate) struct Place<S> {
    published: ArcSwap<Published<S>>,
    /// How long the first data took from when the place was made.
    first: OnceLock<Duration>,
    made: Moment,
}

impl<S: Default> Place<S> {
    pub fn new(clock: Clock) -> Self {
        Self { published: ArcSwap::from_pointee(Self::nothing()), first: OnceLock::new(), made: clock.now() }
    }

    /// What is there, if anything is.
    pub fn see(&self) -> Option<Seen<S>> {
        let seen = self.published.load();
        (seen.version != 0).then_some(seen)
    }

    /// How long the first data took.
    pub fn first(&self) -> Option<Duration> {
        self.first.get().copied()
    }

    /// Replaces the data. It is complete as of then, and not less than what it replaces.
    pub fn publish(&self, data: S, position: Position, as_of: Option<Moment>, now: Moment) {
        let confirmed = self.published.load().confirmed().max(as_of.unwrap_or(Moment::NEVER));
        let version = VERSIONS.fetch_add(1, Relaxed);
        self.published.store(Arc::new(Published::new(data, position, confirmed, version)));
        self.first.get_or_init(|| now.since(self.made));
    }

    /// What is there is complete up to a position of its history, as of then.
    pub fn confirm(&self, position: Position, as_of: Moment) {
        if let Some(seen) = self.see().filter(|seen| seen.incarnation == position.incarnation) {
            seen.sequence.fetch_max(position.sequence, Relaxed);
            seen.confirmed.fetch_max(as_of.0, Relaxed);
        }
    }

    /// Drops what is there: it may lack something.
    pub fn clear(&self) {
        self.published.store(Arc::new(Self::nothing()));
    }

    fn nothing() -> Published<S> {
        Published::new(S::default(), Position::default(), Moment::NEVER, 0)
    }
}
