//! What the messages of one stream amount to: pure, so that every order of events can be tried.
//!
//! The sender dates its messages by the time since the stream was opened. The receiver counts that from when it *asked*
//! for the stream, which is earlier: whatever happens in between, data never looks fresher than it is. The clocks need not
//! agree, they only must run alike; where the sender's runs ahead (or ours stood still, as in a machine that slept), the
//! opening is taken to be as much earlier.

use super::{FeedEvent, FeedMessage, Moment, Piece, Position};
use std::{cmp::Ordering, time::Duration};

/// Why the messages of a stream cannot be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TrackError {
    /// Of an older history, or a snapshot from before what is applied: a copy that lags, or a home that is none any more.
    #[error("{got:?} is behind {applied:?}")]
    Behind {
        /// Of the message.
        got: Position,
        /// What is applied, or was.
        applied: Position,
    },
    /// A change, or its absence, in a history of which there is no snapshot.
    #[error("the history at {0:?} starts without a snapshot")]
    NoSnapshot(Position),
    /// Two histories in one snapshot.
    #[error("a snapshot of several histories ends at {0:?}")]
    Mixed(Position),
    /// A position below one that came before it, or a change where a heartbeat said that there was none.
    #[error("{got:?} came after {seen:?}")]
    Disordered {
        /// Of the message.
        got: Position,
        /// Of a message before it.
        seen: Position,
    },
}

/// What to do after a message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step<I> {
    /// What is applied is complete up to this position, as of then.
    Confirm(Position, Moment),
    /// Apply these items.
    Apply(Batch<I>),
}

/// What is applied at once.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Batch<I> {
    /// Whether everything that is there goes first: a whole snapshot.
    pub replace: bool,
    /// New states, in order.
    pub items: Vec<I>,
    /// Up to where the data goes then.
    pub position: Position,
    /// As of when it is complete, if that is known.
    pub as_of: Option<Moment>,
}

/// One stream, from its opening to its end.
///
/// Unlike a table that one writer's stream fills, a snapshot here is replaced whenever another history begins, and a
/// snapshot under way need not say its position before its end.
#[derive(Debug)]
pub(crate) struct Track<I> {
    /// When the sender began to count, at the latest.
    opened: Moment,
    /// Up to where the data goes; none: there is none.
    applied: Option<Position>,
    /// No snapshot below it is applied.
    floor: Position,
    /// The last position of this stream.
    seen: Option<Position>,
    /// A snapshot under way.
    snapshot: Option<Snapshot<I>>,
}

#[derive(Debug)]
struct Snapshot<I> {
    items: Vec<I>,
    position: Option<Position>,
    as_of: Moment,
}

impl<I> Track<I> {
    /// For a stream that was asked for at `opened`, to go on from `applied`. Nothing below `floor` is applied.
    pub fn new(opened: Moment, applied: Option<Position>, floor: Position) -> Self {
        Self { opened, applied, floor, seen: None, snapshot: None }
    }

    /// Whether a snapshot is under way.
    pub fn in_snapshot(&self) -> bool {
        self.snapshot.is_some()
    }

    /// Takes the next message, which came at `received`.
    ///
    /// # Errors
    /// If the stream must be given up; nothing of the message may be applied.
    pub fn take(&mut self, received: Moment, message: FeedMessage<I>) -> Result<Option<Step<I>>, TrackError> {
        let elapsed = Duration::from_millis(message.elapsed_ms);
        self.opened = self.opened.min(received.earlier(elapsed));
        let as_of = self.opened.later(elapsed).earlier(Duration::from_millis(message.behind_ms));
        match message.event {
            FeedEvent::Piece(piece) if piece.snapshot_start || self.in_snapshot() => self.snapshot(piece, as_of),
            FeedEvent::Piece(piece) => self.change(piece, message.complete.then_some(as_of)),
            FeedEvent::Heartbeat(position) => self.heartbeat(position, as_of),
        }
    }

    fn snapshot(&mut self, piece: Piece<I>, as_of: Moment) -> Result<Option<Step<I>>, TrackError> {
        // What was committed before its first piece is in one of its pieces. One that starts over replaces the one begun.
        let begun = self.snapshot.take().filter(|_| !piece.snapshot_start);
        let mut snapshot = begun.unwrap_or(Snapshot { items: Vec::new(), position: None, as_of });
        let got = piece.position;
        if got != Position::default() {
            if snapshot.position.is_some_and(|position| position.incarnation != got.incarnation) {
                return Err(TrackError::Mixed(got));
            }
            snapshot.position = snapshot.position.max(Some(got));
        }
        snapshot.items.extend(piece.items);
        if !piece.snapshot_end {
            self.snapshot = Some(snapshot);
            return Ok(None);
        }
        let position = snapshot.position.unwrap_or_default();
        if position < self.floor {
            return Err(TrackError::Behind { got: position, applied: self.floor });
        }
        (self.applied, self.seen, self.floor) = (Some(position), Some(position), position);
        let (items, as_of) = (snapshot.items, Some(snapshot.as_of));
        Ok(Some(Step::Apply(Batch { replace: true, items, position, as_of })))
    }

    fn change(&mut self, piece: Piece<I>, as_of: Option<Moment>) -> Result<Option<Step<I>>, TrackError> {
        let (got, items) = (piece.position, piece.items);
        let applied = self.in_history(got)?.ok_or(TrackError::NoSnapshot(got))?;
        let seen = self.seen.replace(got);
        if let Some(seen) = seen.filter(|seen| got < *seen || (got == *seen && got > applied)) {
            return Err(TrackError::Disordered { got, seen });
        }
        if got <= applied {
            return Ok(None);
        }
        self.applied = Some(got);
        Ok(Some(Step::Apply(Batch { replace: false, items, position: got, as_of })))
    }

    fn heartbeat(&mut self, got: Position, as_of: Moment) -> Result<Option<Step<I>>, TrackError> {
        if self.in_snapshot() {
            return Ok(None);
        }
        let Some(applied) = self.in_history(got)? else { return Ok(None) };
        if let Some(seen) = self.seen.replace(got).filter(|seen| got < *seen) {
            return Err(TrackError::Disordered { got, seen });
        }
        // A copy that is behind us knows nothing of what we have beyond it.
        Ok((got >= applied).then_some(Step::Confirm(got, as_of)))
    }

    /// Up to where the data goes, if there is any; it must be of the history of this position.
    fn in_history(&self, got: Position) -> Result<Option<Position>, TrackError> {
        let Some(applied) = self.applied else { return Ok(None) };
        match got.incarnation.cmp(&applied.incarnation) {
            Ordering::Less => Err(TrackError::Behind { got, applied }),
            Ordering::Greater => Err(TrackError::NoSnapshot(got)),
            Ordering::Equal => Ok(Some(applied)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn at(incarnation: u64, sequence: u64) -> Position {
        Position { incarnation, sequence }
    }

    fn piece(position: Position, snapshot_start: bool, snapshot_end: bool) -> FeedMessage<u64> {
        FeedMessage::piece(0, Piece { position, snapshot_start, snapshot_end, items: vec![position.sequence] })
    }

    fn change(position: Position) -> FeedMessage<u64> {
        piece(position, false, false)
    }

    fn ms(ms: u64) -> Moment {
        Moment(0).later(Duration::from_millis(ms))
    }

    /// A stream that goes on from (3, 10).
    fn track() -> Track<u64> {
        Track::new(ms(0), Some(at(3, 10)), at(3, 10))
    }

    #[test]
    fn what_is_out_of_order_spoils_the_data() {
        for (first, second) in [
            (change(at(3, 12)), change(at(3, 11))),
            (change(at(3, 12)), FeedMessage::heartbeat(0, at(3, 11))),
            (FeedMessage::heartbeat(0, at(3, 12)), change(at(3, 12))),
            (FeedMessage::heartbeat(0, at(3, 12)), change(at(3, 11))),
        ] {
            let mut track = track();
            track.take(ms(1), first.clone()).unwrap();
            let error = track.take(ms(1), second.clone()).unwrap_err();
            assert!(matches!(error, TrackError::Disordered { .. }), "{first:?}, {second:?}: {error}");
        }
    }

    #[test]
    fn what_is_repeated_changes_nothing() {
        let mut track = track();
        assert_eq!(track.take(ms(1), change(at(3, 9))), Ok(None));
        assert_eq!(track.take(ms(1), change(at(3, 10))), Ok(None));
        assert!(matches!(track.take(ms(1), change(at(3, 11))), Ok(Some(Step::Apply(..)))));
        assert_eq!(track.take(ms(1), change(at(3, 11))), Ok(None));
    }

    #[test]
    fn a_sender_who_is_behind_confirms_nothing_and_spoils_nothing() {
        assert_eq!(track().take(ms(1), FeedMessage::heartbeat(0, at(3, 9))), Ok(None));
        for behind in [FeedMessage::heartbeat(0, at(2, 99)), change(at(2, 99)), piece(at(3, 9), true, true)] {
            let error = track().take(ms(1), behind).unwrap_err();
            assert!(matches!(error, TrackError::Behind { .. }), "{error}");
        }
    }

    #[test]
    fn a_new_history_or_none_starts_with_a_snapshot() {
        for message in [FeedMessage::heartbeat(0, at(4, 1)), change(at(4, 11))] {
            assert!(matches!(track().take(ms(1), message), Err(TrackError::NoSnapshot(_))));
        }
        assert!(matches!(track().take(ms(1), piece(at(4, 0), true, true)), Ok(Some(Step::Apply(..)))));
        // Nothing is there, but it is known how far it once was.
        let mut empty = Track::<u64>::new(ms(0), None, at(3, 10));
        assert_eq!(empty.take(ms(1), FeedMessage::heartbeat(0, at(3, 12))), Ok(None));
        assert!(matches!(empty.take(ms(1), change(at(3, 12))), Err(TrackError::NoSnapshot(_))));
        assert!(empty.take(ms(1), piece(at(3, 9), true, true)).is_err());
    }

    #[test]
    fn a_snapshot_is_as_old_as_its_first_piece() {
        let mut track = track();
        let dated = |ms, message: FeedMessage<u64>| FeedMessage { elapsed_ms: ms, ..message };
        assert_eq!(track.take(ms(20), dated(5, piece(at(3, 11), true, false))), Ok(None));
        assert_eq!(track.take(ms(30), dated(20, FeedMessage::heartbeat(0, at(3, 13)))), Ok(None));
        let batch = Batch { replace: true, items: vec![11, 12], position: at(3, 12), as_of: Some(ms(5)) };
        assert_eq!(track.take(ms(40), dated(30, piece(at(3, 12), false, true))), Ok(Some(Step::Apply(batch))));
        assert_eq!(
            track.take(ms(50), FeedMessage::heartbeat(45, at(3, 12)).behind_ms(40)),
            Ok(Some(Step::Confirm(at(3, 12), ms(5))))
        );
    }

    #[test]
    fn a_snapshot_may_say_its_position_at_its_end_and_may_start_over() {
        let mut track = track();
        assert_eq!(track.take(ms(1), piece(at(0, 0), true, false)), Ok(None));
        assert_eq!(track.take(ms(2), piece(at(0, 0), false, false)), Ok(None));
        assert_eq!(track.take(ms(3), piece(at(0, 0), true, false)), Ok(None));
        let Ok(Some(Step::Apply(batch))) = track.take(ms(4), piece(at(4, 2), false, true)) else {
            panic!("it is whole")
        };
        assert_eq!((batch.position, batch.items), (at(4, 2), vec![0, 2]));
        // One that nothing was ever written to.
        let mut empty = Track::<u64>::new(ms(0), None, at(0, 0));
        assert!(matches!(empty.take(ms(1), piece(at(0, 0), true, true)), Ok(Some(Step::Apply(_)))));
        // Two histories cannot be mixed, nor can a snapshot that says nothing go back.
        let mut mixed = Track::<u64>::new(ms(0), None, at(0, 0));
        assert_eq!(mixed.take(ms(1), piece(at(4, 1), true, false)), Ok(None));
        assert_eq!(mixed.take(ms(1), piece(at(5, 1), false, true)), Err(TrackError::Mixed(at(5, 1))));
        assert!(matches!(track.take(ms(5), piece(at(0, 0), true, true)), Err(TrackError::Behind { .. })));
    }

    proptest! {
        /// Whenever the sender began to count after it was asked, however long messages lie around and however its clock
        /// runs ahead of ours or ours stands still: nothing is dated later than it was written, by a clock that runs.
        #[test]
        fn nothing_looks_fresher_than_it_is(
            began in 0u64..5_000,
            messages in prop::collection::vec((0u64..20_000, 0u64..20_000, 0u64..5_000), 1..20),
        ) {
            let mut track = track();
            // True time, and what our clock has missed of it; the asking was at 0 of both.
            let (mut written, mut received, mut missed) = (began, 0, 0);
            for (gap, delay, sleep) in messages {
                written += gap;
                // The machine may sleep before it receives.
                let before = received;
                received = (written + delay).max(received);
                missed += sleep.min(received - before);
                let ours = ms(received - missed);
                let heartbeat = FeedMessage::heartbeat(written - began, at(3, 10));
                let Ok(Some(Step::Confirm(_, as_of))) = track.take(ours, heartbeat) else { panic!("in order") };
                prop_assert!(as_of <= ours, "not later than now");
                if missed == 0 {
                    prop_assert!(as_of <= ms(written));
                }
                // Our clock cannot tell more than what a message without delay shows it.
                if received == written {
                    prop_assert!(ours.since(as_of) <= Duration::from_millis(began));
                }
            }
        }

        /// Whatever a sender does, positions of what is applied and confirmed never go back.
        #[test]
        fn positions_only_grow(
            messages in prop::collection::vec((2u64..5, 0u64..20, 0u8..5), 0..60),
        ) {
            let mut track = track();
            let mut stands = at(3, 10);
            for (incarnation, sequence, kind) in messages {
                let position = at(incarnation, sequence);
                let message = match kind {
                    0 => FeedMessage::heartbeat(0, position),
                    1 => change(position),
                    kind => piece(position, kind == 2 || kind == 4, kind >= 3),
                };
                match track.take(ms(1), message) {
                    Ok(None) => {}
                    Ok(Some(Step::Confirm(to, _))) => {
                        prop_assert!(to >= stands);
                        stands = to;
                    }
                    Ok(Some(Step::Apply(batch))) => {
                        prop_assert!(batch.position > stands || (batch.replace && batch.position >= at(stands.incarnation, 0)));
                        stands = batch.position;
                    }
                    Err(_) => track = Track::new(ms(1), Some(stands), stands),
                }
            }
        }
    }
}
