//! The first rows: one for each bucket, from the map a cell starts with.

use super::row;
use crate::{Db, Engine, Mode, StorageError, Tx, TxKind, Value, db::patiently};
use cell_map::{
    BUCKET_COUNT, BucketEpoch, BucketId, CellId, CellMap,
    ownership::{AwayRow, BucketRow, BucketState, UserRow, UserState},
};
use std::sync::Arc;

/// Rows written by one statement: 7 parameters each at most, and no database takes more than 32,766.
const ROWS_PER_STATEMENT: usize = 4096;

/// What a new database must be told before it can answer for anybody.
struct FirstRows {
    buckets: Vec<[Value; 6]>,
    users: Vec<[Value; 7]>,
    away: Vec<[Value; 4]>,
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
            let row = BucketRow { state, epoch: BucketEpoch::new(1) };
            let [state, epoch, to, move_id, attempt] = row::bucket_values(&row)?;
            Ok([i64::from(bucket.get()).into(), state, epoch, to, move_id, attempt])
        };
        let buckets = BucketId::all().map(bucket_row).collect::<Result<_, StorageError>>()?;
        let home_row = |epoch| UserRow { state: UserState::Home, epoch, claim: None };
        let (mut users, mut away) = (vec![], vec![]);
        for pin in map.pins() {
            let key = crate::outbox::user_key(pin.key)?;
            let bucket_is_ours = map.bucket_home(BucketId::of(&key)).id == *cell;
            // A tombstone leaves the user with the bucket and keeps the epoch.
            let home = pin.cell.map(|index| &map.cell_at(index).id);
            let epoch = pin.user_epoch;
            match home {
                Some(home) if home == cell => users.push(super::user_values(&key, &home_row(epoch))?),
                Some(home) if bucket_is_ours => {
                    away.push(super::away_values(&key, &AwayRow { cell: home.clone(), epoch })?);
                }
                None if bucket_is_ours => users.push(super::user_values(&key, &home_row(epoch))?),
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
        let rows = Arc::new(rows);
        patiently(|| {
            let rows = Arc::clone(&rows);
            self.start_up(TxKind::Ownership, move |tx| {
                Box::pin(async move {
                    // Another process may have been first.
                    if has_rows(tx).await? {
                        return Ok(false);
                    }
                    insert(tx, "cell_bucket (bucket, state, bucket_epoch, to_cell, move_id, attempt)", &rows.buckets)
                        .await?;
                    insert(tx, super::USER_COLUMNS, &rows.users).await?;
                    insert(tx, super::AWAY_COLUMNS, &rows.away).await?;
                    Ok(true)
                })
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

async fn insert<E: Engine, const N: usize>(
    tx: &mut Tx<E>,
    into: &str,
    rows: &[[Value; N]],
) -> Result<(), StorageError> {
    let marks = format!("({})", ["?"; N].join(", "));
    for chunk in rows.chunks(ROWS_PER_STATEMENT) {
        let marks = vec![marks.as_str(); chunk.len()].join(", ");
        let values = chunk.iter().flatten().cloned().collect();
        E::execute(tx.conn(), &format!("INSERT INTO {into} VALUES {marks}"), values).await?;
    }
    Ok(())
}
