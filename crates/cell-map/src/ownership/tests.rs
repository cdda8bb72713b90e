//! One test per promise of the steps; how they play together is for the model checker (`tests/model.rs`).

mod answers;
mod buckets;
mod publications;
mod users;

use super::{AwayRow, BucketRow, BucketState, Claim, KeyRows, MoveId, UserMove, UserRow, UserState};
use crate::{BucketEpoch, CellId, OwnerEpochs, UserEpoch};

fn cell(name: &str) -> CellId {
    CellId::new(name).unwrap()
}

fn home(epoch: u64) -> BucketRow {
    BucketRow { state: BucketState::Home, epoch: BucketEpoch::new(epoch) }
}

fn gone(to: &str, epoch: u64) -> BucketRow {
    BucketRow { state: BucketState::Gone { to: cell(to) }, epoch: BucketEpoch::new(epoch) }
}

fn moving(to: &str, epoch: u64) -> BucketRow {
    let state = BucketState::Moving { to: cell(to), claim: Claim { move_id: MoveId(900), attempt: 1 } };
    BucketRow { state, epoch: BucketEpoch::new(epoch) }
}

fn alone(bucket: BucketRow) -> KeyRows {
    KeyRows { bucket, user: None, away: None }
}

fn with_user(bucket: BucketRow, user: UserRow) -> KeyRows {
    KeyRows { bucket, user: Some(user), away: None }
}

fn user(state: UserState, epoch: u64, claim: Option<(u128, u32)>) -> UserRow {
    let claim = claim.map(|(id, attempt)| Claim { move_id: MoveId(id), attempt });
    UserRow { state, epoch: UserEpoch::new(epoch), claim }
}

fn moved_to(to: &str) -> UserState {
    UserState::MovedTo { cell: cell(to) }
}

fn importing(from: &str) -> UserState {
    UserState::Importing { from: cell(from) }
}

fn away(to: &str, epoch: u64) -> AwayRow {
    AwayRow { cell: cell(to), epoch: UserEpoch::new(epoch) }
}

fn epochs(user: u64, bucket: u64) -> OwnerEpochs {
    OwnerEpochs::new(UserEpoch::new(user), BucketEpoch::new(bucket))
}

/// Move 1 of a user from cell s to cell t.
fn plan(base: u64) -> UserMove {
    UserMove::new(MoveId(1), cell("s"), cell("t"), UserEpoch::new(base)).unwrap()
}
