//! The rows that say who is home, and the steps of a move on them.
//!
//! Each step is one transaction: lock the bucket exclusively (OWN-4), read, let the pure function of
//! [`cell_map::ownership`] decide, write exactly what it returned. The functions are those that the model checks.

mod bootstrap;
mod bucket_move;
mod change;
mod publication;
pub(crate) mod row;
mod user_move;

pub use change::StepError;
pub(crate) use change::{Change, Events};
pub use publication::published;

use crate::{Db, Engine, Mode, Sqlite, StorageError, Tx, TxKind, Value, engine::BucketLock};
use cell_map::{
    BucketId, UserKey,
    ownership::{AwayRow, KeyRows, UserRow},
};

/// The ownership rows of a database, as the mover sees them. From [`Db::ownership`].
pub struct Ownership<E: Engine = Sqlite> {
    db: Db<E>,
}

impl<E: Engine> Db<E> {
    /// The steps of moves on this database.
    #[must_use]
    pub fn ownership(&self) -> Ownership<E> {
        Ownership { db: self.clone() }
    }
}

impl<E: Engine> Ownership<E> {
    /// A key's rows as they stand, without a lock.
    ///
    /// # Errors
    /// If the database failed or the bucket has no row.
    pub async fn rows(&self, key: &UserKey) -> Result<KeyRows, StorageError> {
        let key = key.clone();
        self.db
            .upkeep(TxKind::Ownership, Mode::Read, move |tx| {
                Box::pin(async move { Ok(tx.key_rows(BucketLock::Shared, BucketId::of(&key), &key).await?) })
            })
            .await
    }
}

const USER_COLUMNS: &str = "cell_user (user_key, bucket, state, cell, user_epoch, move_id, attempt)";
const AWAY_COLUMNS: &str = "away (user_key, bucket, cell, user_epoch)";

fn key_values(key: &UserKey) -> [Value; 2] {
    [key.as_bytes().into(), i64::from(BucketId::of(key).get()).into()]
}

/// What goes into [`USER_COLUMNS`].
fn user_values(key: &UserKey, row: &UserRow) -> Result<[Value; 7], StorageError> {
    let [key, bucket] = key_values(key);
    let [state, cell, epoch, move_id, attempt] = row::user_values(row)?;
    Ok([key, bucket, state, cell, epoch, move_id, attempt])
}

/// What goes into [`AWAY_COLUMNS`].
fn away_values(key: &UserKey, row: &AwayRow) -> Result<[Value; 4], StorageError> {
    let [key, bucket] = key_values(key);
    let [cell, epoch] = row::away_values(row)?;
    Ok([key, bucket, cell, epoch])
}

async fn insert_user<E: Engine>(tx: &mut Tx<E>, key: &UserKey, row: &UserRow) -> Result<(), StorageError> {
    let sql = format!("INSERT INTO {USER_COLUMNS} VALUES (?, ?, ?, ?, ?, ?, ?)");
    E::execute(tx.conn(), &sql, user_values(key, row)?.into()).await.map(|_| ())
}

async fn insert_away<E: Engine>(tx: &mut Tx<E>, key: &UserKey, row: &AwayRow) -> Result<(), StorageError> {
    let sql = format!("INSERT INTO {AWAY_COLUMNS} VALUES (?, ?, ?, ?)");
    E::execute(tx.conn(), &sql, away_values(key, row)?.into()).await.map(|_| ())
}
