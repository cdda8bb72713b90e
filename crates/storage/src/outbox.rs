//! The outbox: events written in the transaction that makes them true, delivered afterwards.
//!
//! Consumers order a user's events by (user epoch, sequence); sequences count 1, 2, 3… within a user epoch, so a gap is
//! a missing event and a repetition is recognised. Delivery is at least once.

use crate::{Db, Engine, Mode, StorageError, TxKind, Value};
use cell_map::{UserEpoch, UserKey};
use std::{
    collections::HashMap,
    sync::{MutexGuard, PoisonError},
};

/// The last row that was looked at: when it was delivered, and its id.
pub(crate) type SweptTo = (i64, i64);

/// Who reads a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Services' events.
    Events,
    /// What the map's publisher applies (OWN-19); written by the move's steps only.
    Ownership,
}

impl Stream {
    /// Its name in the table.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Ownership => "ownership",
        }
    }
}

/// An event to be emitted with [`Tx::emit`](crate::Tx::emit).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxEvent {
    /// What happened, for instance `trade.order_placed`.
    pub kind: String,
    /// Its data, usually an encoded protobuf message.
    pub payload: Vec<u8>,
}

impl OutboxEvent {
    /// An event.
    pub fn new(kind: impl Into<String>, payload: impl Into<Vec<u8>>) -> Self {
        Self { kind: kind.into(), payload: payload.into() }
    }
}

/// An event as it stands in the outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxRow {
    /// Its place in this database's outbox; grows, with gaps.
    pub id: i64,
    /// The user it is about; none for global data.
    pub user: Option<UserKey>,
    /// The user's epoch when it happened; 0 for global data.
    pub user_epoch: UserEpoch,
    /// 1, 2, 3… within user and user epoch.
    pub sequence: u64,
    /// Names the event everywhere and for ever.
    pub event_id: String,
    /// What happened.
    pub kind: String,
    /// Its data.
    pub payload: Vec<u8>,
    /// The W3C trace context of the transaction that emitted it.
    pub traceparent: Option<String>,
    /// When, in milliseconds since the Unix epoch.
    pub created_ms: i64,
}

/// Appends a row with the next sequence of the user's stream. The newest row of each stream stays in the table for
/// ever (see [`OutboxReader::sweep`]), so the next number is one index lookup away.
pub(crate) async fn append<E: Engine>(
    connection: &mut E::Connection,
    stream: Stream,
    user_key: &[u8],
    user_epoch: UserEpoch,
    event: OutboxEvent,
    traceparent: Option<String>,
    now_ms: i64,
) -> Result<(), StorageError> {
    let sql =
        "INSERT INTO outbox (stream, user_key, user_epoch, sequence, event_id, kind, payload, traceparent, created_ms)
               SELECT ?, ?, ?,
                      COALESCE((SELECT MAX(earlier.sequence) FROM outbox AS earlier
                                WHERE earlier.stream = ? AND earlier.user_key = ? AND earlier.user_epoch = ?), 0) + 1,
                      ?, ?, ?, ?, ?";
    let epoch = Value::unsigned(user_epoch.get())?;
    let event_id = format!("{:032x}", rand::random::<u128>());
    let values = vec![
        stream.as_str().into(),
        user_key.into(),
        epoch.clone(),
        stream.as_str().into(),
        user_key.into(),
        epoch,
        event_id.into(),
        event.kind.into(),
        event.payload.into(),
        traceparent.into(),
        now_ms.into(),
    ];
    E::execute(connection, sql, values).await.map(|_| ())
}

/// Reads one stream of a database's outbox, for its single dispatcher.
pub struct OutboxReader<E: Engine = crate::Sqlite> {
    db: Db<E>,
    stream: Stream,
}

impl<E: Engine> Clone for OutboxReader<E> {
    fn clone(&self) -> Self {
        Self { db: self.db.clone(), stream: self.stream }
    }
}

impl<E: Engine> Db<E> {
    /// A reader of one stream of the outbox.
    #[must_use]
    pub fn outbox(&self, stream: Stream) -> OutboxReader<E> {
        OutboxReader { db: self.clone(), stream }
    }
}

impl<E: Engine> OutboxReader<E> {
    /// The oldest rows that wait for delivery, from the first with an id above `after` (0 for all): events of one user
    /// come in their order. A dispatcher that must hold back one user's events goes on behind them with `after`.
    ///
    /// # Errors
    /// If the database failed.
    pub async fn next_batch(&self, after: i64, limit: u32) -> Result<Vec<OutboxRow>, StorageError> {
        let stream = self.stream.as_str();
        self.db
            .upkeep(TxKind::Upkeep, Mode::Read, move |tx| {
                Box::pin(async move {
                    let sql =
                        "SELECT id, user_key, user_epoch, sequence, event_id, kind, payload, traceparent, created_ms
                               FROM outbox WHERE stream = ? AND state = 'pending' AND id > ? ORDER BY id LIMIT ?";
                    let rows = tx.query(sql, vec![stream.into(), after.into(), i64::from(limit).into()]).await?;
                    rows.into_iter().map(|row| outbox_row(row).map_err(Into::into)).collect()
                })
            })
            .await
    }

    /// How many rows wait and when the oldest of them was written, in milliseconds since the Unix epoch.
    ///
    /// # Errors
    /// If the database failed.
    pub async fn backlog(&self) -> Result<(u64, Option<i64>), StorageError> {
        let stream = self.stream.as_str();
        self.db
            .upkeep(TxKind::Upkeep, Mode::Read, move |tx| {
                Box::pin(async move {
                    let sql = "SELECT COUNT(*), MIN(created_ms) FROM outbox WHERE stream = ? AND state = 'pending'";
                    let Some(mut row) = tx.query(sql, vec![stream.into()]).await?.pop() else { return Ok((0, None)) };
                    Ok((row.unsigned()?, row.optional_integer()?))
                })
            })
            .await
    }

    /// Notes that these rows were delivered. A row that was handed to another cell meanwhile stays handed: that cell
    /// delivers it again, and the consumer knows it by its sequence.
    ///
    /// # Errors
    /// If the database failed.
    pub async fn mark_done(&self, ids: &[i64]) -> Result<(), StorageError> {
        if ids.is_empty() {
            return Ok(());
        }
        let ids = ids.to_vec();
        self.db
            .quick_upkeep(move |tx| {
                Box::pin(async move {
                    let now = tx.now_ms();
                    for id in ids {
                        let sql = "UPDATE outbox SET state = 'done', done_ms = ? WHERE id = ? AND state = 'pending'";
                        tx.execute(sql, vec![now.into(), id.into()]).await?;
                    }
                    Ok(())
                })
            })
            .await
    }

    /// Deletes rows delivered before `done_before_ms`; returns how many. The newest row of each user and epoch stays:
    /// its sequence is what the next one counts from. Looks at `limit` rows at most, from where the last call stopped,
    /// and begins again after the last row: however many rows stay, a call is short.
    ///
    /// # Errors
    /// If the database failed.
    pub async fn sweep(&self, done_before_ms: i64, limit: u32) -> Result<u64, StorageError> {
        let stream = self.stream.as_str();
        let from = self.swept().get(&self.stream).copied().unwrap_or_default();
        let (swept, to) = self
            .db
            .upkeep(TxKind::Upkeep, Mode::Write, move |tx| {
                Box::pin(async move {
                    let (at, id) = from;
                    // In the order of the index over delivered rows.
                    let some = "SELECT id, done_ms FROM outbox
                                WHERE stream = ? AND state = 'done' AND done_ms < ?
                                  AND done_ms >= ? AND (done_ms > ? OR id > ?)
                                ORDER BY done_ms, id LIMIT ?";
                    let values = vec![
                        stream.into(),
                        done_before_ms.into(),
                        at.into(),
                        at.into(),
                        id.into(),
                        i64::from(limit).into(),
                    ];
                    let mut rows = tx.query(some, values).await?;
                    let more = rows.len() == limit as usize;
                    let Some(mut last) = rows.pop() else { return Ok((0, SweptTo::default())) };
                    let (last_id, last_at) = (last.integer()?, last.integer()?);
                    let sql = "DELETE FROM outbox WHERE id IN (SELECT id FROM (
                                 SELECT old.id AS id FROM outbox AS old
                                 WHERE old.stream = ? AND old.state = 'done'
                                   AND old.done_ms >= ? AND (old.done_ms > ? OR old.id > ?)
                                   AND old.done_ms <= ? AND (old.done_ms < ? OR old.id <= ?)
                                   AND EXISTS (SELECT 1 FROM outbox AS newer
                                               WHERE newer.stream = old.stream AND newer.user_key = old.user_key
                                                 AND newer.user_epoch = old.user_epoch AND newer.sequence > old.sequence)
                                 ) AS swept)";
                    let range = [at, at, id, last_at, last_at, last_id];
                    let values = std::iter::once(stream.into()).chain(range.map(Value::from)).collect();
                    let swept = tx.execute(sql, values).await?;
                    Ok((swept, if more { (last_at, last_id) } else { SweptTo::default() }))
                })
            })
            .await?;
        self.swept().insert(self.stream, to);
        Ok(swept)
    }

    fn swept(&self) -> MutexGuard<'_, HashMap<Stream, SweptTo>> {
        self.db.inner.swept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn outbox_row(mut row: crate::Row) -> Result<OutboxRow, StorageError> {
    let id = row.integer()?;
    let user = match &*row.blob()? {
        [] => None,
        key => Some(user_key(key)?),
    };
    Ok(OutboxRow {
        id,
        user,
        user_epoch: UserEpoch::new(row.unsigned()?),
        sequence: row.unsigned()?,
        event_id: row.text()?,
        kind: row.text()?,
        payload: row.blob()?,
        traceparent: row.optional_text()?,
        created_ms: row.integer()?,
    })
}

/// A user key read from a row.
pub(crate) fn user_key(bytes: &[u8]) -> Result<UserKey, StorageError> {
    UserKey::from_bytes(bytes).map_err(|error| StorageError::Corrupt(format!("stored user key: {error}")))
}
