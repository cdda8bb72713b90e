//! The rows (`ownership.md`, Rows).

use crate::{BucketEpoch, CellId, UserEpoch};
use std::fmt;

/// Identifies one planned move. Drawn at random by the planner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MoveId(pub u128);

impl fmt::Display for MoveId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Which attempt of which move holds a row (OWN-11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Claim {
    /// The move.
    pub move_id: MoveId,
    /// The attempt; a later one takes over from an earlier one.
    pub attempt: u32,
}

/// What a bucket is to this database.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum BucketState {
    /// Home: row-less users of it live here, new ones are minted.
    Home,
    /// Home for all but minting (OWN-10).
    Reserved,
    /// On its way to another cell (OWN-14).
    Moving {
        /// Where to.
        to: CellId,
        /// By which move.
        claim: Claim,
    },
    /// Not home; this cell was, as far as this database knows.
    Gone {
        /// Who is.
        to: CellId,
    },
}

/// A row of `cell_bucket`. There is one for each of the 65,536 buckets from the first migration.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BucketRow {
    /// What the bucket is here.
    pub state: BucketState,
    /// Orders the homes of the bucket.
    pub epoch: BucketEpoch,
}

/// What a user with a row of his own is to this database.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum UserState {
    /// Home, perhaps claimed by a move.
    Home,
    /// Still home, but nothing is served: a move copies the last rows.
    Frozen,
    /// Being copied from another cell.
    Importing {
        /// The source, home until the move commits.
        from: CellId,
    },
    /// Lives elsewhere.
    MovedTo {
        /// Where.
        cell: CellId,
    },
}

/// A row of `cell_user`. Never deleted: only data is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UserRow {
    /// What the user is here.
    pub state: UserState,
    /// The epoch of the owner this row names; while importing, the epoch the move started from.
    pub epoch: UserEpoch,
    /// The move that holds the row; of `moved_to`, the move that committed.
    pub claim: Option<Claim>,
}

/// A row of `away`: the bucket's home knows where each user pinned elsewhere lives (OWN-3).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AwayRow {
    /// Where.
    pub cell: CellId,
    /// Since which epoch.
    pub epoch: UserEpoch,
}

/// Everything a database knows about the home of one key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyRows {
    /// The key's bucket.
    pub bucket: BucketRow,
    /// The user's own row.
    pub user: Option<UserRow>,
    /// Where the user is pinned.
    pub away: Option<AwayRow>,
}
