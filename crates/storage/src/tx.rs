//! An open transaction.

use crate::{
    Engine, Mode, Row, Sqlite, StorageError, Value,
    db::Inner,
    engine::BucketLock,
    in_flight::Claim,
    outbox::{self, OutboxEvent, Stream},
};
use cell_map::{BucketId, CellId, OwnerEpochs, UserKey, ownership::KeyRows};
use std::sync::Arc;

/// An open transaction, past its fence if it has one. Ends when the work that was given it returns.
///
/// After a statement failed, the transaction should be left with `?`: the database may already have rolled it back,
/// and then refuses every further write.
pub struct Tx<E: Engine = Sqlite> {
    lease: E::Lease,
    shared: Arc<Inner<E>>,
    mode: Mode,
    user: Option<(UserKey, OwnerEpochs)>,
    events: u32,
    claim: Option<Claim>,
}

impl<E: Engine> Tx<E> {
    pub(crate) fn new(lease: E::Lease, shared: Arc<Inner<E>>, mode: Mode) -> Self {
        Self { lease, shared, mode, user: None, events: 0, claim: None }
    }

    /// The connection, how many events were emitted, and the idempotency key to be held until the end.
    pub(crate) fn into_parts(self) -> (E::Lease, u32, Option<Claim>) {
        (self.lease, self.events, self.claim)
    }

    /// Holds an idempotency key until the transaction has ended.
    pub(crate) fn hold(&mut self, claim: Claim) {
        self.claim = Some(claim);
    }

    pub(crate) fn shared(&self) -> &Inner<E> {
        &self.shared
    }

    pub(crate) fn set_user(&mut self, key: UserKey, epochs: OwnerEpochs) {
        self.user = Some((key, epochs));
    }

    /// The connection, to run a service's own SQL on.
    pub fn conn(&mut self) -> &mut E::Connection {
        &mut self.lease
    }

    /// Runs a query in the dialect that all engines share, `?` for each parameter.
    ///
    /// # Errors
    /// If the database refuses it.
    pub async fn query(&mut self, sql: &'static str, values: Vec<Value>) -> Result<Vec<Row>, StorageError> {
        E::query(&mut self.lease, sql, values).await
    }

    /// Runs a statement in the dialect that all engines share, `?` for each parameter; returns how many rows changed.
    ///
    /// # Errors
    /// If the database refuses it.
    pub async fn execute(&mut self, sql: &'static str, values: Vec<Value>) -> Result<u64, StorageError> {
        E::execute(&mut self.lease, sql, values).await
    }

    /// The user whose data this transaction may touch; none if it is global.
    #[must_use]
    pub fn user(&self) -> Option<&UserKey> {
        self.user.as_ref().map(|(key, _)| key)
    }

    /// The epochs under which this cell owns the user; zero if the transaction is global.
    #[must_use]
    pub fn epochs(&self) -> OwnerEpochs {
        self.user.as_ref().map_or(OwnerEpochs::ZERO, |(_, epochs)| *epochs)
    }

    /// The cell.
    #[must_use]
    pub fn cell(&self) -> &CellId {
        &self.shared.settings.cell
    }

    /// The time in milliseconds since the Unix epoch.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        (self.shared.settings.clock)()
    }

    /// Whether it may write.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Appends an event to the outbox: it will be delivered if and only if this transaction commits, after the user's
    /// earlier events.
    ///
    /// # Errors
    /// If the transaction is read-only or the database refuses it.
    pub async fn emit(&mut self, event: OutboxEvent) -> Result<(), StorageError> {
        if self.mode == Mode::Read {
            return Err(StorageError::ReadOnly("emit an event"));
        }
        let traceparent = self.traceparent();
        let now = self.now_ms();
        let (key, epoch) = match &self.user {
            Some((key, epochs)) => (key.as_bytes(), epochs.user),
            None => (&[][..], cell_map::UserEpoch::ZERO),
        };
        outbox::append::<E>(&mut self.lease, Stream::Events, key, epoch, event, traceparent, now).await?;
        self.events += 1;
        Ok(())
    }

    /// The trace context of the current span.
    pub(crate) fn traceparent(&self) -> Option<String> {
        self.shared.settings.observer.as_ref().and_then(|observer| observer.traceparent())
    }

    /// The user-scoped tables of this database.
    pub(crate) fn user_tables(&self) -> Arc<[String]> {
        Arc::clone(&self.shared.user_tables)
    }

    /// Locks a bucket and reads a key's rows.
    pub(crate) async fn key_rows(
        &mut self,
        lock: BucketLock,
        bucket: BucketId,
        key: &UserKey,
    ) -> Result<KeyRows, StorageError> {
        let rows = E::fence(&mut self.lease, self.mode, lock, bucket, key).await?;
        rows.ok_or(StorageError::MissingBucket(bucket))
    }

    pub(crate) fn count_event(&mut self) {
        self.events += 1;
    }
}
