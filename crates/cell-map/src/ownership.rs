//! Ownership as every database of a cell stores it, and what a cell answers from it (`ownership.md`).
//!
//! Pure: storage reads the rows of a key under the bucket's lock (OWN-4), calls a function here and persists exactly what it
//! returns. The model checker calls the same functions.

mod answer;
mod row;

pub use answer::{Answer, answer};
pub use row::{AwayRow, BucketRow, BucketState, Claim, KeyRows, MoveId, UserRow, UserState};
