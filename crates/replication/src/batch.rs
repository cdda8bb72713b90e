//! Which piece of a stream may be applied on top of what is there.

use crate::{Position, Standing};

/// One message of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece<T> {
    /// Position after it.
    pub position: Position,
    /// First piece of a snapshot.
    pub snapshot_start: bool,
    /// Last piece of a snapshot.
    pub snapshot_end: bool,
    /// New states.
    pub items: Vec<T>,
}

/// What to write, in one transaction, together with the position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch<T> {
    /// Position that it was made for.
    pub base: Position,
    /// Position afterwards.
    pub position: Position,
    /// Whether everything that is there goes first: a whole snapshot.
    pub replace: bool,
    /// New states; a later entry of the same item wins.
    pub items: Vec<T>,
}

impl<T> Batch<T> {
    /// Whether it may be applied where the copy stands (`None`: nothing there): a snapshot must not go back, changes need
    /// their very base, and nothing is applied to what is written here.
    ///
    /// # Errors
    /// [`ReplicationError::WrittenHere`] or [`ReplicationError::Moved`].
    pub fn check(&self, standing: Option<Standing>) -> Result<(), ReplicationError> {
        if standing.is_some_and(|standing| standing.writer) {
            return Err(ReplicationError::WrittenHere);
        }
        let standing = standing.map(|standing| standing.position).unwrap_or_default();
        let fits = if self.replace { self.position >= standing } else { self.base == standing };
        if fits { Ok(()) } else { Err(ReplicationError::Moved { standing, base: self.base }) }
    }
}

/// Why a stream must be given up and opened anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplicationError {
    /// An older history than the one applied: a restored backup or a stale sender.
    #[error("incarnation {got} is older than the applied {applied}")]
    OlderIncarnation {
        /// Of the piece.
        got: u64,
        /// Of what is there.
        applied: u64,
    },
    /// A snapshot that would go back in the same history.
    #[error("snapshot at sequence {got} is older than the applied {applied}")]
    OlderSnapshot {
        /// Of the snapshot.
        got: u64,
        /// Of what is there.
        applied: u64,
    },
    /// A change of a history of which no snapshot was seen.
    #[error("incarnation {got} starts without a snapshot, applied is {applied}")]
    NoSnapshot {
        /// Of the piece.
        got: u64,
        /// Of what is there.
        applied: u64,
    },
    /// Pieces of a snapshot that do not belong together.
    #[error("snapshot pieces out of order")]
    Disordered,
    /// This process writes the data itself, so it follows nobody.
    #[error("the data is written here now")]
    WrittenHere,
    /// Something else wrote the copy since the stream was opened.
    #[error("copy stands at {standing:?}, the stream goes on from {base:?}")]
    Moved {
        /// Where the copy is.
        standing: Position,
        /// Where the stream thinks it is.
        base: Position,
    },
    /// More than one transaction can apply.
    #[error("snapshot has more than {max} items, the most that are applied in one transaction")]
    TooLarge {
        /// Most items.
        max: usize,
    },
}

/// Assembles the pieces of one stream into batches. Make a new one for each stream.
#[derive(Debug)]
pub struct Assembler<T> {
    applied: Position,
    snapshot: Option<Piece<T>>,
    max_items: usize,
}

impl<T> Assembler<T> {
    /// For a stream opened at `applied` (zero: nothing there); a snapshot may have at most `max_items`.
    #[must_use]
    pub const fn new(applied: Position, max_items: usize) -> Self {
        Self { applied, snapshot: None, max_items }
    }

    /// Takes the next piece; `Some` is to be applied before the next call. Repeated changes give `None`.
    ///
    /// # Errors
    /// If the stream must be given up; nothing of the piece may be applied.
    pub fn take(&mut self, piece: Piece<T>) -> Result<Option<Batch<T>>, ReplicationError> {
        let (got, applied) = (piece.position, self.applied);
        if got.incarnation < applied.incarnation {
            let (got, applied) = (got.incarnation, applied.incarnation);
            return Err(ReplicationError::OlderIncarnation { got, applied });
        }
        if piece.snapshot_start || self.snapshot.is_some() {
            return self.take_snapshot(piece);
        }
        if piece.snapshot_end {
            return Err(ReplicationError::Disordered);
        }
        if got.incarnation != applied.incarnation {
            let (got, applied) = (got.incarnation, applied.incarnation);
            return Err(ReplicationError::NoSnapshot { got, applied });
        }
        if got.sequence <= applied.sequence {
            return Ok(None);
        }
        self.applied = got;
        Ok(Some(Batch { base: applied, position: got, replace: false, items: piece.items }))
    }

    /// Whether nothing is missing, if everything up to this position was sent: it is of the same history and not behind.
    #[must_use]
    pub fn reaches(&self, sent: Position) -> bool {
        self.snapshot.is_none() && sent.incarnation == self.applied.incarnation && sent >= self.applied
    }

    fn take_snapshot(&mut self, piece: Piece<T>) -> Result<Option<Batch<T>>, ReplicationError> {
        let (start, end) = (piece.snapshot_start, piece.snapshot_end);
        let snapshot = match self.snapshot.take() {
            None => piece,
            Some(so_far) if start || so_far.position.incarnation != piece.position.incarnation => {
                return Err(ReplicationError::Disordered);
            }
            Some(mut so_far) => {
                so_far.position = so_far.position.max(piece.position);
                so_far.items.extend(piece.items);
                so_far
            }
        };
        if snapshot.items.len() > self.max_items {
            return Err(ReplicationError::TooLarge { max: self.max_items });
        }
        if !end {
            self.snapshot = Some(snapshot);
            return Ok(None);
        }
        let (got, applied) = (snapshot.position, self.applied);
        if got < applied {
            return Err(ReplicationError::OlderSnapshot { got: got.sequence, applied: applied.sequence });
        }
        self.applied = got;
        Ok(Some(Batch { base: applied, position: got, replace: true, items: snapshot.items }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn piece(incarnation: u64, sequence: u64, start: bool, end: bool, items: &[(u8, u64)]) -> Piece<(u8, u64)> {
        let position = Position { incarnation, sequence };
        Piece { position, snapshot_start: start, snapshot_end: end, items: items.to_vec() }
    }

    #[test]
    fn a_snapshot_is_applied_whole() {
        let mut stream = Assembler::new(Position::default(), 10);
        assert_eq!(stream.take(piece(5, 1, true, false, &[(1, 1)])), Ok(None));
        assert_eq!(stream.take(piece(5, 2, false, false, &[(2, 2)])), Ok(None));
        let batch = stream.take(piece(5, 3, false, true, &[(3, 3)])).expect("in order").expect("complete");
        assert!(batch.replace && batch.items.len() == 3);
        assert_eq!(batch.position, Position { incarnation: 5, sequence: 3 });
    }

    #[test]
    fn older_histories_and_gaps_are_refused() {
        let applied = Position { incarnation: 5, sequence: 9 };
        let refused = |piece| Assembler::new(applied, 2).take(piece).expect_err("must be refused");
        assert!(matches!(refused(piece(4, 99, true, true, &[])), ReplicationError::OlderIncarnation { .. }));
        assert!(matches!(refused(piece(5, 8, true, true, &[])), ReplicationError::OlderSnapshot { .. }));
        assert!(matches!(refused(piece(6, 10, false, false, &[])), ReplicationError::NoSnapshot { .. }));
        assert!(matches!(refused(piece(5, 10, false, true, &[])), ReplicationError::Disordered));
        let large = piece(6, 1, true, true, &[(1, 1), (2, 1), (3, 1)]);
        assert!(matches!(refused(large), ReplicationError::TooLarge { max: 2 }));
    }

    #[test]
    fn a_batch_fits_only_where_the_copy_stands() {
        let at = |incarnation, sequence| Position { incarnation, sequence };
        let batch = |replace| Batch { base: at(5, 9), position: at(5, 10), replace, items: vec![(1, 1)] };
        for (standing, change, snapshot) in [
            (at(5, 9), true, true),
            (at(5, 8), false, true),
            (at(5, 10), false, true),
            (at(5, 11), false, false),
            (at(6, 0), false, false),
            (Position::default(), false, true),
        ] {
            let stands = |writer| Some(Standing { position: standing, writer });
            assert_eq!(batch(false).check(stands(false)).is_ok(), change, "{standing:?}");
            assert_eq!(batch(true).check(stands(false)).is_ok(), snapshot, "{standing:?}");
            assert_eq!(batch(true).check(stands(true)), Err(ReplicationError::WrittenHere));
        }
        assert!(batch(true).check(None).is_ok() && batch(false).check(None).is_err());
    }

    #[test]
    fn repeated_changes_change_nothing() {
        let mut stream = Assembler::new(Position { incarnation: 5, sequence: 9 }, 10);
        assert_eq!(stream.take(piece(5, 9, false, false, &[(1, 9)])), Ok(None));
        assert!(stream.take(piece(5, 10, false, false, &[(1, 10)])).expect("next").is_some());
        assert_eq!(stream.take(piece(5, 10, false, false, &[(1, 10)])), Ok(None));
    }

    proptest! {
        /// Whatever a sender does, the applied position never goes back and every batch moves it.
        #[test]
        fn positions_only_grow(pieces in prop::collection::vec((0u64..4, 0u64..8, any::<bool>(), any::<bool>()), 0..40)) {
            let mut stream = Assembler::new(Position { incarnation: 1, sequence: 3 }, 100);
            let mut applied = stream.applied;
            for (incarnation, sequence, start, end) in pieces {
                if let Ok(Some(batch)) = stream.take(piece(incarnation, sequence, start, end, &[])) {
                    prop_assert_eq!(batch.base, applied);
                    prop_assert!(batch.position > applied || (batch.replace && batch.position == applied));
                    applied = batch.position;
                }
                prop_assert_eq!(stream.applied, applied);
            }
        }

        /// A copy that follows from any position, with pieces of any size, ends up with the writer's state.
        #[test]
        fn a_follower_converges(writes in prop::collection::vec((0u8..6, 1usize..4), 1..40), from in 0usize..40) {
            let mut writer = BTreeMap::new();
            let mut copy = BTreeMap::new();
            let mut position = Position { incarnation: 1, sequence: 0 };
            for (at, (key, chunk)) in writes.iter().enumerate() {
                writer.insert(*key, at as u64 + 1);
                if at < from { continue; }
                // Continue from the position: every item whose last change is later, in the order of changes.
                let mut stream = Assembler::new(position, 100);
                let mut changed: Vec<_> = writer.iter().filter(|(_, v)| **v > position.sequence).map(|(k, v)| (*k, *v)).collect();
                changed.sort_by_key(|(_, version)| *version);
                for items in changed.chunks(*chunk) {
                    let last = items.last().expect("chunks are not empty").1;
                    if let Some(batch) = stream.take(piece(1, last, false, false, items)).expect("in order") {
                        copy.extend(batch.items);
                        position = batch.position;
                    }
                }
                prop_assert_eq!(&copy, &writer);
            }
        }
    }
}
