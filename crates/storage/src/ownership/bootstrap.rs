//! The first rows: one for each bucket, from the map a cell starts with.

use super::row;
use crate::{Db, Engine, Mode, StorageError, Tx, TxKind, Value};
use cell_map::{
    BUCKET_COUNT, BucketEpoch, BucketId, CellId, CellMap, UserKey,
    ownership::{AwayRow, BucketRow, BucketState, UserRow, UserState},
};

/// Buckets written by one statement: 6 parameters each, and no database takes more than 32,766.
const ROWS_PER_STATEMENT: usize = 4096;

/// What a new database must be told before it can answer for anybody.
struct FirstRows {
    buckets: Vec<BucketRow>,
    users: Vec<(UserKey, UserRow)>,
    away: Vec<(UserKey, AwayRow)>,
}

impl FirstRows {
    /// Home or reserved where the map says so, gone everywhere else; users pinned here have a row, and so have users
    /// pinned away from a bucket of ours (OWN-3).
    fn of(map: &CellMap, cell: &CellId) -> Result<Self, StorageError> {
        let bucket_row = |bucket| {
            let home = &map.bucket_home(bucket).id;
            let state = match home == cell {
                true if map.is_reserved(bucket) => BucketState::Reserved,
                true => BucketState::Home,
                false => BucketState::Gone { to: home.clone() },
            };
            BucketRow { state, epoch: BucketEpoch::new(1) }
        };
        let buckets: Vec<_> = BucketId::all().map(bucket_row).collect();
        let (mut users, mut away) = (vec![], vec![]);
        for pin in map.pins() {
            let key = crate::outbox::user_key(pin.key)?;
            let bucket_is_ours = map.bucket_home(BucketId::of(&key)).id == *cell;
            // A tombstone leaves the user with the bucket and keeps the epoch.
            let home = pin.cell.map(|index| &map.cell_at(index).id);
            let epoch = pin.user_epoch;
            match home {
                Some(home) if home == cell => users.push((key, UserRow { state: UserState::Home, epoch, claim: None })),
                Some(home) if bucket_is_ours => away.push((key, AwayRow { cell: home.clone(), epoch })),
                None if bucket_is_ours => users.push((key, UserRow { state: UserState::Home, epoch, claim: None })),
                Some(_) | None => {}
            }
        }
        Ok(Self { buckets, users, away })
    }
}

impl<E: Engine> Db<E> {
    /// Writes the ownership rows of a database that has none, from the map that stands now, in one transaction.
    /// Returns whether it did; a database that has them is left alone: from its first row on it, not the map, says who
    /// is home.
    ///
    /// # Errors
    /// If the database failed, or has some of the rows but not all.
    pub async fn bootstrap_ownership(&self, map: &CellMap, cell: &CellId) -> Result<bool, StorageError> {
        if cell != self.cell() {
            return Err(StorageError::ForeignCell { expected: cell.clone(), found: self.cell().to_string() });
        }
        // Almost every start finds them, and need not wait for the writer.
        if self.upkeep(TxKind::Ownership, Mode::Read, |tx| Box::pin(async move { Ok(has_rows(tx).await?) })).await? {
            return Ok(false);
        }
        let rows = FirstRows::of(map, cell)?;
        self.upkeep(TxKind::Ownership, Mode::Write, move |tx| {
            Box::pin(async move {
                // Another process may have been first.
                if has_rows(tx).await? {
                    return Ok(false);
                }
                insert_buckets(tx, &rows.buckets).await?;
                for (key, row) in &rows.users {
                    super::insert_user(tx, key, row).await?;
                }
                for (key, row) in &rows.away {
                    super::insert_away(tx, key, row).await?;
                }
                Ok(true)
            })
        })
        .await
    }
}

async fn has_rows<E: Engine>(tx: &mut Tx<E>) -> Result<bool, StorageError> {
    let found = tx.query("SELECT COUNT(*) FROM cell_bucket", vec![]).await?.pop();
    match found.map(|mut row| row.unsigned()).transpose()? {
        Some(0) | None => Ok(false),
        Some(rows) if rows == BUCKET_COUNT as u64 => Ok(true),
        Some(rows) => {
            Err(StorageError::Corrupt(format!("table \"cell_bucket\" has {rows} rows, {BUCKET_COUNT} belong there")))
        }
    }
}

async fn insert_buckets<E: Engine>(tx: &mut Tx<E>, rows: &[BucketRow]) -> Result<(), StorageError> {
    for (chunk, first) in rows.chunks(ROWS_PER_STATEMENT).zip((0_i64..).step_by(ROWS_PER_STATEMENT)) {
        let marks = vec!["(?, ?, ?, ?, ?, ?)"; chunk.len()].join(", ");
        let sql =
            format!("INSERT INTO cell_bucket (bucket, state, bucket_epoch, to_cell, move_id, attempt) VALUES {marks}");
        let mut values = Vec::with_capacity(chunk.len() * 6);
        for (row, bucket) in chunk.iter().zip(first..) {
            values.push(Value::from(bucket));
            values.extend(row::bucket_values(row)?);
        }
        E::execute(tx.conn(), &sql, values).await?;
    }
    Ok(())
}
