//! One step of a move: lock, read, let a pure function decide, write exactly what it decided.

use super::{publication, row};
use crate::{
    Db, Engine, Mode, Participants, StorageError, Stream, Tx, TxError, TxKind, UserData, Value, WorkError,
    changes::Touched, engine::BucketLock, own_participants,
};
use cell_map::{
    BucketId, CellId, UserKey,
    ownership::{AwayRow, BucketRow, KeyRows, Publication, UserRow},
};

/// What becomes of a user's undelivered events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Events {
    /// Freeze: the new home delivers them.
    Hand,
    /// Abort at the source: this cell delivers them after all.
    TakeBack,
    /// Open at the target: those that came with the user are delivered here.
    Release,
}

/// What a step decided. Rows that equal those read are not written.
#[derive(Clone, Debug)]
pub(crate) struct Change<T> {
    /// The rows as they shall be. A user's row never goes away.
    pub(crate) rows: KeyRows,
    /// What becomes of the user's undelivered events.
    pub(crate) events: Option<Events>,
    /// What the map's publisher is told (OWN-19).
    pub(crate) publish: Option<Publication>,
    /// Whether the user's data is deleted.
    pub(crate) purge: bool,
    /// The answer of the step.
    pub(crate) value: T,
}

impl<T> Change<T> {
    /// A step that changes rows only.
    pub(crate) fn new(rows: KeyRows, value: T) -> Self {
        Self { rows, events: None, publish: None, purge: false, value }
    }
}

/// Why a step did not take place. `R` is the deciding function's refusal.
#[derive(Debug, thiserror::Error)]
pub enum StepError<R> {
    /// The rules of the move forbid it in the state found.
    #[error("refused: {0}")]
    Refused(R),
    /// The database failed.
    #[error(transparent)]
    Storage(StorageError),
}

impl<R> From<TxError<R>> for StepError<R> {
    fn from(error: TxError<R>) -> Self {
        match error {
            TxError::Business(refusal) => Self::Refused(refusal),
            TxError::Storage(error) => Self::Storage(error),
            TxError::Refused(_) | TxError::KeyInUse(_) => {
                Self::Storage(StorageError::Corrupt("a step, which has no fence, was refused by one".into()))
            }
        }
    }
}

impl<E: Engine> Db<E> {
    /// Runs one step on a user: locks the key's bucket exclusively (OWN-4), reads the key's rows, lets `decide` say
    /// what they shall be, and writes that, all in one transaction. `decide` does no I/O.
    pub(crate) async fn user_step<T, R, F>(
        &self,
        key: &UserKey,
        participants: Participants<E>,
        decide: F,
    ) -> Result<T, StepError<R>>
    where
        T: Send + 'static,
        R: Send + 'static,
        F: FnOnce(&CellId, &KeyRows) -> Result<Change<T>, R> + Send + 'static,
    {
        let key = key.clone();
        let done = self.unfenced(TxKind::Ownership, Mode::Write, move |tx| {
            Box::pin(async move {
                tx.touch(Touched::User(key.clone()));
                let rows = tx.key_rows(BucketLock::Exclusive, BucketId::of(&key), &key).await?;
                let change = decide(tx.cell(), &rows).map_err(WorkError::Business)?;
                write_rows(tx, &key, &rows, &change.rows).await?;
                if change.purge {
                    purge(tx, &key, &participants).await?;
                }
                if let Some(events) = change.events {
                    move_events(tx, &key, events).await?;
                }
                if let Some(publication) = change.publish {
                    publication::append(tx, &key, publication).await?;
                }
                Ok(change.value)
            })
        });
        Ok(done.await?)
    }
}

/// Deletes the user's data, this crate's own included.
pub(super) async fn purge<E: Engine>(
    tx: &mut Tx<E>,
    key: &UserKey,
    participants: &Participants<E>,
) -> Result<u64, StorageError> {
    let mut rows = 0;
    for participant in participants.iter() {
        rows += participant.purge(tx.conn(), key).await?;
    }
    Ok(rows + UserData::<E>::purge(&own_participants(), tx.conn(), key).await?)
}

async fn write_rows<E: Engine>(
    tx: &mut Tx<E>,
    key: &UserKey,
    old: &KeyRows,
    new: &KeyRows,
) -> Result<(), StorageError> {
    if old.bucket != new.bucket {
        update_bucket(tx, BucketId::of(key), &new.bucket).await?;
    }
    match (&old.user, &new.user) {
        (old, new) if old == new => {}
        (None, Some(new)) => super::insert_user(tx, key, new).await?,
        (Some(_), Some(new)) => update_user(tx, key, new).await?,
        (_, None) => return Err(StorageError::Corrupt(format!("a step would delete the row of user \"{key}\""))),
    }
    match (&old.away, &new.away) {
        (old, new) if old == new => {}
        (None, Some(new)) => super::insert_away(tx, key, new).await?,
        (Some(_), Some(new)) => update_away(tx, key, new).await?,
        (_, None) => {
            tx.execute("DELETE FROM away WHERE user_key = ?", vec![key.as_bytes().into()]).await?;
        }
    }
    Ok(())
}

fn one_row(table: &str, changed: u64) -> Result<(), StorageError> {
    match changed {
        1 => Ok(()),
        other => Err(StorageError::Corrupt(format!("an update of table \"{table}\" met {other} rows instead of 1"))),
    }
}

pub(super) async fn update_bucket<E: Engine>(
    tx: &mut Tx<E>,
    bucket: BucketId,
    row: &BucketRow,
) -> Result<(), StorageError> {
    let sql = "UPDATE cell_bucket SET state = ?, bucket_epoch = ?, to_cell = ?, move_id = ?, attempt = ?
               WHERE bucket = ?";
    let mut values: Vec<Value> = row::bucket_values(row)?.into();
    values.push(i64::from(bucket.get()).into());
    one_row("cell_bucket", tx.execute(sql, values).await?)
}

async fn update_user<E: Engine>(tx: &mut Tx<E>, key: &UserKey, row: &UserRow) -> Result<(), StorageError> {
    let sql = "UPDATE cell_user SET state = ?, cell = ?, user_epoch = ?, move_id = ?, attempt = ? WHERE user_key = ?";
    let mut values: Vec<Value> = row::user_values(row)?.into();
    values.push(key.as_bytes().into());
    one_row("cell_user", tx.execute(sql, values).await?)
}

pub(super) async fn update_away<E: Engine>(tx: &mut Tx<E>, key: &UserKey, row: &AwayRow) -> Result<(), StorageError> {
    let mut values: Vec<Value> = row::away_values(row)?.into();
    values.push(key.as_bytes().into());
    one_row("away", tx.execute("UPDATE away SET cell = ?, user_epoch = ? WHERE user_key = ?", values).await?)
}

async fn move_events<E: Engine>(tx: &mut Tx<E>, key: &UserKey, events: Events) -> Result<(), StorageError> {
    let (from, to) = match events {
        Events::Hand => ("pending", "handed"),
        Events::TakeBack => ("handed", "pending"),
        Events::Release => ("importing", "pending"),
    };
    // The publisher's rows stay: they tell of what this cell itself did.
    let sql = "UPDATE outbox SET state = ? WHERE user_key = ? AND stream = ? AND state = ?";
    let values = vec![to.into(), key.as_bytes().into(), Stream::Events.as_str().into(), from.into()];
    let changed = tx.execute(sql, values).await?;
    if changed > 0 && to == "pending" {
        tx.count_event();
    }
    Ok(())
}
