//! Refusals of the steps of a user's move.

use crate::{
    CellId, UserEpoch,
    ownership::{Claim, MoveId},
};

/// Why a step of a user's move is refused. Nothing is written then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoveRefused {
    /// The plan is none.
    #[error("a move from cell \"{cell}\" to itself")]
    SameCell {
        /// Source and target.
        cell: CellId,
    },
    /// The step belongs into another database.
    #[error("the step belongs to cell \"{expected}\", this database is of cell \"{me}\"")]
    WrongDatabase {
        /// Whose database this is.
        me: CellId,
        /// The cell the plan names for the step.
        expected: CellId,
    },
    /// The user's bucket is moving to another cell: try again when it has arrived (OWN-14).
    #[error("the user's bucket is moving to cell \"{to}\"")]
    BucketMoving {
        /// Where to.
        to: CellId,
    },
    /// The user is not at home here at the epoch that the plan starts from.
    #[error("the user is not at home here at user_epoch {base}")]
    NotHome {
        /// The plan's base.
        base: UserEpoch,
    },
    /// The row is not held by this move's claim.
    #[error("move {move_id} holds no claim here")]
    NotClaimed {
        /// The plan's move.
        move_id: MoveId,
    },
    /// Another move, or a later attempt of this one, holds the row.
    #[error("attempt {} of move {} holds the row", by.attempt, by.move_id)]
    Superseded {
        /// Which.
        by: Claim,
    },
    /// The move is committed: it can only be opened.
    #[error("the move is committed")]
    AlreadyCommitted,
    /// The move is aborted or overtaken by others: stop.
    #[error("the move is aborted")]
    AlreadyAborted,
    /// The commit comes before the freeze.
    #[error("the user is not frozen")]
    NotFrozen,
    /// The target is home of the user already.
    #[error("the user is at home here")]
    AtHome,
    /// The target knows an owner later than the plan's base.
    #[error("user_epoch {known} is known here, the move starts from {base}")]
    Stale {
        /// The epoch of the target's row.
        known: UserEpoch,
        /// The plan's base.
        base: UserEpoch,
    },
    /// The target is not importing under this claim.
    #[error("the user is not being imported here by this attempt")]
    NotImporting,
    /// The rows say that the data here is, or may become, somebody's home; or another move owns its end (OWN-12).
    #[error("the data here is not that which user_epoch {epoch} left behind")]
    NotLeftBehind {
        /// The epoch the purge was asked for.
        epoch: UserEpoch,
    },
}
