//! The rows that say who is home, and the steps of a move on them.

mod bootstrap;
pub(crate) mod row;

use crate::{Engine, StorageError, Tx, Value};
use cell_map::{
    BucketId, UserKey,
    ownership::{AwayRow, UserRow},
};

fn key_values(key: &UserKey) -> [Value; 2] {
    [key.as_bytes().into(), i64::from(BucketId::of(key).get()).into()]
}

async fn insert_user<E: Engine>(tx: &mut Tx<E>, key: &UserKey, row: &UserRow) -> Result<(), StorageError> {
    let sql = "INSERT INTO cell_user (user_key, bucket, state, cell, user_epoch, move_id, attempt)
               VALUES (?, ?, ?, ?, ?, ?, ?)";
    let values = key_values(key).into_iter().chain(row::user_values(row)?).collect();
    tx.execute(sql, values).await.map(|_| ())
}

async fn insert_away<E: Engine>(tx: &mut Tx<E>, key: &UserKey, row: &AwayRow) -> Result<(), StorageError> {
    let sql = "INSERT INTO away (user_key, bucket, cell, user_epoch) VALUES (?, ?, ?, ?)";
    let values = key_values(key).into_iter().chain(row::away_values(row)?).collect();
    tx.execute(sql, values).await.map(|_| ())
}
