//! Ownership as every database of a cell stores it, what a cell answers from it, and the steps that change it
//! (`ownership.md`).
//!
//! Pure: storage reads the rows of a key under the bucket's lock (OWN-4), calls a function here and persists exactly what it
//! returns. The model checker calls the same functions.
//!
//! Most rows are home by their bucket alone. A user with a history of his own has a row; a move of one user is a
//! [`UserMove`], the move of a whole bucket a [`BucketMove`] around the moves of its residents; a [`Publication`] tells
//! the bucket's home and the map.

mod answer;
mod bucket_move;
mod home;
mod publication;
mod purge;
mod row;
mod step;
#[cfg(test)]
mod tests;
mod user_move;

pub use answer::{Answer, answer};
pub use bucket_move::{BucketMove, BucketProgress, BucketRefused, Flipped, Residents};
pub use publication::{AwayStep, MapStep, Publication};
pub use row::{AwayRow, BucketRow, BucketState, Claim, KeyRows, MoveId, UserRow, UserState};
pub use step::Step;
pub use user_move::{Aborted, Commit, Committed, MoveRefused, Open, Outcome, Prepare, Progress, UserMove};
