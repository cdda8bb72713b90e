//! The steps of a bucket's move (OWN-14), each in the database it belongs to.

use super::{Change, Ownership, StepError, change, row};
use crate::{
    BoxFuture, Engine, Mode, Row, StorageError, Tx, TxKind, Value, WorkError, changes::Touched, engine::BucketLock,
    outbox::user_key, user_data::USER_KEY,
};
use cell_map::{
    BucketId, CellId, UserKey,
    ownership::{AwayRow, BucketMove, BucketProgress, BucketRefused, BucketRow, Flipped, KeyRows, Residents, Step},
};
use std::{collections::BTreeSet, sync::Arc};

type Done<T> = Result<T, StepError<BucketRefused>>;

/// Keys read at a time when a table is searched for a bucket's users.
const SCAN_PAGE: i64 = 1000;

impl<E: Engine> Ownership<E> {
    /// [`BucketMove::begin`], at the source.
    ///
    /// # Errors
    /// If refused or the database failed.
    pub async fn begin_bucket(&self, bucket: BucketId, plan: &BucketMove, attempt: u32) -> Done<()> {
        let plan = plan.clone();
        self.bucket_step(bucket, move |me, row| Ok((plan.begin(me, row, attempt)?, ()))).await
    }

    /// [`BucketMove::takeover`], at the source.
    ///
    /// # Errors
    /// If refused or the database failed.
    pub async fn takeover_bucket(&self, bucket: BucketId, plan: &BucketMove, attempt: u32) -> Done<BucketProgress> {
        let plan = plan.clone();
        self.bucket_step(bucket, move |me, row| plan.takeover(me, row, attempt)).await
    }

    /// [`BucketMove::flip`], at the source, with the residents counted in the same transaction.
    ///
    /// # Errors
    /// If refused or the database failed.
    pub async fn flip_bucket(&self, bucket: BucketId, plan: &BucketMove, attempt: u32) -> Done<Flipped> {
        let plan = plan.clone();
        let step = self.bucket_work(bucket, move |tx, old| {
            Box::pin(async move {
                let left = residents(tx, bucket).await?;
                let left = Residents { rows: left.rows, rowless_with_data: left.rowless.len() as u64 };
                let (step, flipped) = plan.flip(tx.cell(), &old, attempt, left).map_err(WorkError::Business)?;
                write_bucket(tx, bucket, step).await?;
                Ok(flipped)
            })
        });
        step.await
    }

    /// Users of the bucket that have to move before it can flip: those with data and without a row, in order, and how
    /// many rows are home, frozen or importing.
    ///
    /// # Errors
    /// If the database failed.
    pub async fn bucket_residents(&self, bucket: BucketId) -> Result<(Vec<UserKey>, u64), StorageError> {
        self.db
            .upkeep(TxKind::Ownership, Mode::Read, move |tx| {
                Box::pin(async move {
                    let found = residents(tx, bucket).await?;
                    Ok((found.rowless.into_iter().collect(), found.rows))
                })
            })
            .await
    }

    /// Where the bucket's users with rows live, as far as this cell knows ([`KeyRows::whereabouts`]), in order of their
    /// keys, those after `after`. To be copied to the target once the bucket has flipped.
    ///
    /// # Errors
    /// If the database failed.
    pub async fn bucket_whereabouts(
        &self,
        bucket: BucketId,
        after: Option<&UserKey>,
        limit: u32,
    ) -> Result<Vec<(UserKey, AwayRow)>, StorageError> {
        let after = after.map_or_else(Vec::new, |key| key.as_bytes().to_vec());
        self.db
            .upkeep(TxKind::Ownership, Mode::Read, move |tx| {
                Box::pin(async move {
                    let sql = "SELECT user_key FROM (
                                 SELECT user_key FROM away WHERE bucket = ?
                                 UNION SELECT user_key FROM cell_user WHERE bucket = ?) AS known
                               WHERE user_key > ? ORDER BY user_key LIMIT ?";
                    let number = i64::from(bucket.get());
                    let values = vec![number.into(), number.into(), after.into(), i64::from(limit).into()];
                    let mut known = vec![];
                    for mut found in tx.query(sql, values).await? {
                        let key = user_key(&found.blob()?)?;
                        let rows = tx.key_rows(BucketLock::Shared, bucket, &key).await?;
                        known.extend(rows.whereabouts(tx.cell()).map(|away| (key, away)));
                    }
                    Ok(known)
                })
            })
            .await
    }

    /// [`Flipped::copy_away`], at the target.
    ///
    /// # Errors
    /// If refused or the database failed.
    pub async fn copy_away(&self, key: &UserKey, flipped: &Flipped, known: AwayRow) -> Done<()> {
        let flipped = flipped.clone();
        let step = self.db.user_step(key, Arc::new([]), move |me, rows| {
            let mut rows = KeyRows::clone(rows);
            if let Step::Write(away) = flipped.copy_away(me, &rows, known)? {
                rows.away = Some(away);
            }
            Ok(Change::new(rows, ()))
        });
        step.await
    }

    /// [`Flipped::open`], at the target, after every `away` row was copied.
    ///
    /// # Errors
    /// If refused or the database failed.
    pub async fn open_bucket(&self, bucket: BucketId, flipped: &Flipped) -> Done<()> {
        let flipped = flipped.clone();
        self.bucket_step(bucket, move |me, row| Ok((flipped.open(me, row)?, ()))).await
    }

    /// A bucket's row.
    ///
    /// # Errors
    /// If the database failed or there is none.
    pub async fn bucket_row(&self, bucket: BucketId) -> Result<BucketRow, StorageError> {
        self.db
            .upkeep(TxKind::Ownership, Mode::Read, move |tx| {
                Box::pin(async move { Ok(read_bucket(tx, bucket).await?) })
            })
            .await
    }

    async fn bucket_step<T, F>(&self, bucket: BucketId, decide: F) -> Done<T>
    where
        T: Send + 'static,
        F: FnOnce(&CellId, &BucketRow) -> Result<(Step<BucketRow>, T), BucketRefused> + Send + 'static,
    {
        let step = self.bucket_work(bucket, move |tx, old| {
            Box::pin(async move {
                let (step, value) = decide(tx.cell(), &old).map_err(WorkError::Business)?;
                write_bucket(tx, bucket, step).await?;
                Ok(value)
            })
        });
        step.await
    }

    async fn bucket_work<T, F>(&self, bucket: BucketId, work: F) -> Done<T>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx<E>, BucketRow) -> BoxFuture<'t, Result<T, WorkError<BucketRefused>>>
            + Send
            + 'static,
    {
        let done = self.db.unfenced(TxKind::Ownership, Mode::Write, move |tx| {
            Box::pin(async move {
                tx.touch(Touched::Any);
                E::lock_bucket(tx.conn(), BucketLock::Exclusive, bucket).await?;
                let old = read_bucket(tx, bucket).await?;
                work(tx, old).await
            })
        });
        Ok(done.await?)
    }
}

async fn read_bucket<E: Engine>(tx: &mut Tx<E>, bucket: BucketId) -> Result<BucketRow, StorageError> {
    let sql = "SELECT state, bucket_epoch, to_cell, move_id, attempt FROM cell_bucket WHERE bucket = ?";
    let found = tx.query(sql, vec![i64::from(bucket.get()).into()]).await?.pop();
    let mut found: Row = found.ok_or(StorageError::MissingBucket(bucket))?;
    let (state, epoch) = (found.text()?, found.integer()?);
    let (to_cell, move_id) = (found.optional_text()?, found.optional_text()?);
    row::bucket(&state, epoch, to_cell.as_deref(), move_id.as_deref(), found.optional_integer()?)
}

async fn write_bucket<E: Engine>(tx: &mut Tx<E>, bucket: BucketId, step: Step<BucketRow>) -> Result<(), StorageError> {
    match step {
        Step::Write(row) => change::update_bucket(tx, bucket, &row).await,
        Step::Unchanged => Ok(()),
    }
}

struct Found {
    rows: u64,
    rowless: BTreeSet<UserKey>,
}

/// Who lives in a bucket. User tables know keys, not buckets, so every key of every table is looked at: this is for
/// moves of whole buckets, not for calls.
async fn residents<E: Engine>(tx: &mut Tx<E>, bucket: BucketId) -> Result<Found, StorageError> {
    let number = Value::from(i64::from(bucket.get()));
    let sql = "SELECT COUNT(*) FROM cell_user WHERE bucket = ? AND state IN ('home', 'frozen', 'importing')";
    let rows = match tx.query(sql, vec![number.clone()]).await?.pop() {
        Some(mut row) => row.unsigned()?,
        None => 0,
    };
    let mut rowless = BTreeSet::new();
    for table in tx.user_tables().iter() {
        let sql = format!("SELECT DISTINCT {USER_KEY} FROM {table} WHERE {USER_KEY} > ? ORDER BY {USER_KEY} LIMIT ?");
        let mut after = vec![];
        loop {
            let page = E::query(tx.conn(), &sql, vec![after.clone().into(), SCAN_PAGE.into()]).await?;
            let full = page.len() as i64 == SCAN_PAGE;
            for mut found in page {
                after = found.blob()?;
                if BucketId::of_bytes(&after) == bucket {
                    rowless.insert(user_key(&after)?);
                }
            }
            if !full {
                break;
            }
        }
    }
    let mut with_row = tx.query("SELECT user_key FROM cell_user WHERE bucket = ?", vec![number]).await?;
    for found in &mut with_row {
        rowless.remove(&user_key(&found.blob()?)?);
    }
    Ok(Found { rows, rowless })
}
