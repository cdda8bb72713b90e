//! Ownership rows between SQL and `cell_map::ownership`.

use crate::{StorageError, Value};
use cell_map::{
    BucketEpoch, CellId, UserEpoch,
    ownership::{AwayRow, BucketRow, BucketState, Claim, MoveId, UserRow, UserState},
};

fn damaged(table: &str, why: impl std::fmt::Display) -> StorageError {
    StorageError::Corrupt(format!("table \"{table}\": {why}"))
}

fn epoch(table: &str, number: i64) -> Result<u64, StorageError> {
    u64::try_from(number).map_err(|_| damaged(table, format_args!("epoch {number} is negative")))
}

fn cell(table: &str, name: Option<&str>) -> Result<CellId, StorageError> {
    let name = name.ok_or_else(|| damaged(table, "a cell is missing"))?;
    CellId::new(name).map_err(|error| damaged(table, error))
}

fn claim(table: &str, move_id: Option<&str>, attempt: Option<i64>) -> Result<Option<Claim>, StorageError> {
    let (Some(move_id), Some(attempt)) = (move_id, attempt) else { return Ok(None) };
    let id = u128::from_str_radix(move_id, 16).map_err(|_| damaged(table, format_args!("move id \"{move_id}\"")))?;
    let attempt = u32::try_from(attempt).map_err(|_| damaged(table, format_args!("attempt {attempt}")))?;
    Ok(Some(Claim { move_id: MoveId(id), attempt }))
}

/// A row of `cell_bucket`.
pub(crate) fn bucket(
    state: &str,
    bucket_epoch: i64,
    to_cell: Option<&str>,
    move_id: Option<&str>,
    attempt: Option<i64>,
) -> Result<BucketRow, StorageError> {
    const TABLE: &str = "cell_bucket";
    let state = match state {
        "home" => BucketState::Home,
        "reserved" => BucketState::Reserved,
        "moving" => BucketState::Moving {
            to: cell(TABLE, to_cell)?,
            claim: claim(TABLE, move_id, attempt)?.ok_or_else(|| damaged(TABLE, "moving without a claim"))?,
        },
        "gone" => BucketState::Gone { to: cell(TABLE, to_cell)? },
        other => return Err(damaged(TABLE, format_args!("state \"{other}\""))),
    };
    Ok(BucketRow { state, epoch: BucketEpoch::new(epoch(TABLE, bucket_epoch)?) })
}

/// A row of `cell_user`.
pub(crate) fn user(
    state: &str,
    peer: Option<&str>,
    user_epoch: i64,
    move_id: Option<&str>,
    attempt: Option<i64>,
) -> Result<UserRow, StorageError> {
    const TABLE: &str = "cell_user";
    let state = match state {
        "home" => UserState::Home,
        "frozen" => UserState::Frozen,
        "importing" => UserState::Importing { from: cell(TABLE, peer)? },
        "moved_to" => UserState::MovedTo { cell: cell(TABLE, peer)? },
        other => return Err(damaged(TABLE, format_args!("state \"{other}\""))),
    };
    let claim = claim(TABLE, move_id, attempt)?;
    Ok(UserRow { state, epoch: UserEpoch::new(epoch(TABLE, user_epoch)?), claim })
}

/// A row of `away`.
pub(crate) fn away(cell_name: &str, user_epoch: i64) -> Result<AwayRow, StorageError> {
    const TABLE: &str = "away";
    Ok(AwayRow { cell: cell(TABLE, Some(cell_name))?, epoch: UserEpoch::new(epoch(TABLE, user_epoch)?) })
}

fn claim_values(claim: Option<&Claim>) -> [Value; 2] {
    [claim.map(|claim| claim.move_id.to_string()).into(), claim.map(|claim| i64::from(claim.attempt)).into()]
}

/// state, bucket_epoch, to_cell, move_id, attempt
pub(crate) fn bucket_values(row: &BucketRow) -> Result<[Value; 5], StorageError> {
    let (state, to, claim) = match &row.state {
        BucketState::Home => ("home", None, None),
        BucketState::Reserved => ("reserved", None, None),
        BucketState::Moving { to, claim } => ("moving", Some(to), Some(claim)),
        BucketState::Gone { to } => ("gone", Some(to), None),
    };
    let [move_id, attempt] = claim_values(claim);
    Ok([state.into(), Value::unsigned(row.epoch.get())?, to.map(CellId::as_str).into(), move_id, attempt])
}

/// state, cell, user_epoch, move_id, attempt
pub(crate) fn user_values(row: &UserRow) -> Result<[Value; 5], StorageError> {
    let (state, peer) = match &row.state {
        UserState::Home => ("home", None),
        UserState::Frozen => ("frozen", None),
        UserState::Importing { from } => ("importing", Some(from)),
        UserState::MovedTo { cell } => ("moved_to", Some(cell)),
    };
    let [move_id, attempt] = claim_values(row.claim.as_ref());
    Ok([state.into(), peer.map(CellId::as_str).into(), Value::unsigned(row.epoch.get())?, move_id, attempt])
}

/// cell, user_epoch
pub(crate) fn away_values(row: &AwayRow) -> Result<[Value; 2], StorageError> {
    Ok([row.cell.as_str().into(), Value::unsigned(row.epoch.get())?])
}
