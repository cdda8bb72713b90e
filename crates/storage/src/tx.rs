//! An open transaction.

use crate::{
    Engine, Mode, Row, Sqlite, Standing, StorageError, Value,
    changes::Touched,
    db::Inner,
    engine::{BucketLock, Fenced},
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
    standing: Option<Standing>,
    /// Whether the position is this transaction's own.
    counted: bool,
    touched: Touched,
    events: u32,
    claim: Option<Claim>,
}

/// What is left of a transaction when its work is done.
pub(crate) struct Parts<E: Engine> {
    /// The connection.
    pub(crate) lease: E::Lease,
    /// How many events were emitted.
    pub(crate) events: u32,
    /// The idempotency key to be held until the end.
    pub(crate) claim: Option<Claim>,
    /// Where its user's data stands.
    pub(crate) standing: Option<Standing>,
    /// Whom it concerns.
    pub(crate) touched: Touched,
}

impl<E: Engine> Tx<E> {
    pub(crate) fn new(lease: E::Lease, shared: Arc<Inner<E>>, mode: Mode) -> Self {
        let (standing, counted, touched) = (None, false, Touched::None);
        Self { lease, shared, mode, standing, counted, touched, events: 0, claim: None }
    }

    /// What is left when the work is done.
    pub(crate) fn into_parts(self) -> Parts<E> {
        let touched = match (&self.standing, self.mode) {
            (Some(standing), Mode::Write) => Touched::User(standing.user.clone()),
            _ => self.touched,
        };
        Parts { lease: self.lease, events: self.events, claim: self.claim, standing: self.standing, touched }
    }

    /// Holds an idempotency key until the transaction has ended.
    pub(crate) fn hold(&mut self, claim: Claim) {
        self.claim = Some(claim);
    }

    pub(crate) fn shared(&self) -> &Inner<E> {
        &self.shared
    }

    pub(crate) fn set_standing(&mut self, standing: Standing) {
        self.standing = Some(standing);
    }

    pub(crate) fn standing(&self) -> Option<&Standing> {
        self.standing.as_ref()
    }

    /// Whether the position is settled.
    pub(crate) fn is_counted(&self) -> bool {
        self.counted
    }

    /// Settles the position.
    pub(crate) fn set_counted(&mut self, position: u64) {
        self.counted = true;
        if let Some(standing) = &mut self.standing {
            standing.position = position;
        }
    }

    /// Whom a transaction without a fence concerns.
    pub(crate) fn touch(&mut self, touched: Touched) {
        self.touched = touched;
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
        self.standing.as_ref().map(|standing| &standing.user)
    }

    /// The epochs under which this cell owns the user; zero if the transaction is global.
    #[must_use]
    pub fn epochs(&self) -> OwnerEpochs {
        self.standing.as_ref().map_or(OwnerEpochs::ZERO, |standing| standing.epochs)
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
        let (key, epoch) = match &self.standing {
            Some(standing) => (standing.user.as_bytes(), standing.epochs.user),
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
        Ok(self.fence_rows(lock, bucket, key).await?.rows)
    }

    /// The same with the user's position.
    pub(crate) async fn fence_rows(
        &mut self,
        lock: BucketLock,
        bucket: BucketId,
        key: &UserKey,
    ) -> Result<Fenced, StorageError> {
        let found = E::fence(&mut self.lease, self.mode, lock, bucket, key).await?;
        found.ok_or(StorageError::MissingBucket(bucket))
    }

    pub(crate) fn count_event(&mut self) {
        self.events += 1;
    }
}
