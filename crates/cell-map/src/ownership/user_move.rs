//! The move of one user from a source to a target (OWN-11), step by step.
//!
//! A step is conditional on the move and its attempt and is idempotent, so that a coordinator that was paused and wakes up
//! late changes nothing. The source's row decides: it leaves `frozen` either by the commit or by the abort, and the target
//! acts only on proof of which ([`Outcome`]).

mod refused;
mod source;
mod target;

use super::{Claim, MoveId};
use crate::{CellId, UserEpoch};
pub use refused::MoveRefused;
pub use source::{Aborted, Commit, Committed, Outcome, Progress};
pub use target::{Open, Prepare};

/// A planned move of one user. Creating a pin is the move of a user, perhaps without data, out of his bucket's home;
/// dropping it is the move back (OWN-3).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UserMove {
    move_id: MoveId,
    source: CellId,
    target: CellId,
    base: UserEpoch,
}

impl UserMove {
    /// The move of a user who is at home in `source` since `base` (0 without a row of his own) to `target`.
    ///
    /// # Errors
    /// If both are one cell.
    pub fn new(move_id: MoveId, source: CellId, target: CellId, base: UserEpoch) -> Result<Self, MoveRefused> {
        if source == target {
            return Err(MoveRefused::SameCell { cell: source });
        }
        Ok(Self { move_id, source, target, base })
    }

    /// Which move.
    #[must_use]
    pub const fn move_id(&self) -> MoveId {
        self.move_id
    }

    /// Where from.
    #[must_use]
    pub const fn source(&self) -> &CellId {
        &self.source
    }

    /// Where to.
    #[must_use]
    pub const fn target(&self) -> &CellId {
        &self.target
    }

    /// The user's epoch before the move.
    #[must_use]
    pub const fn base(&self) -> UserEpoch {
        self.base
    }

    /// The user's epoch after it: the target's if it commits, used up by the source if it is aborted.
    #[must_use]
    pub const fn next(&self) -> UserEpoch {
        self.base.next()
    }

    const fn held_by(&self, attempt: u32) -> Claim {
        Claim { move_id: self.move_id, attempt }
    }

    fn is_mine(&self, claim: Option<Claim>) -> bool {
        claim.is_some_and(|claim| claim.move_id == self.move_id)
    }

    fn at_source(&self, me: &CellId) -> Result<(), MoveRefused> {
        at(me, &self.source)
    }

    fn at_target(&self, me: &CellId) -> Result<(), MoveRefused> {
        at(me, &self.target)
    }
}

fn at(me: &CellId, expected: &CellId) -> Result<(), MoveRefused> {
    if me == expected { Ok(()) } else { Err(MoveRefused::WrongDatabase { me: me.clone(), expected: expected.clone() }) }
}
