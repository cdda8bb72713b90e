//! A fixed number of SQLite connections behind a fair queue.
//!
//! sqlx's own pool spawns a task and pings the connection each time one comes back, which for the single writer stands
//! between any two transactions. Here a connection is handed over at once, and its state is put right by the *next*
//! borrower: a lease that was dropped with a transaction open, or while one was being begun, leaves the connection
//! marked, and it is rolled back, or replaced, before anybody else runs a statement on it.

use crate::StorageError;
use sqlx::{ConnectOptions, Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use std::{
    ops::{Deref, DerefMut},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

/// Longest wait for a file that another process is just making, and how often it is tried.
const OPEN_LIMIT: Duration = Duration::from_secs(5);
const OPEN_PAUSE: Duration = Duration::from_millis(20);

/// What may be open on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// No transaction.
    Clean,
    /// Perhaps a transaction.
    Open,
    /// Perhaps a COMMIT under way: not to be used again.
    Doomed,
}

struct Slot {
    connection: SqliteConnection,
    /// Tells it from every other one of the lane.
    serial: u64,
    state: State,
    /// Whether a COMMIT may succeed on it now.
    may_commit: Arc<AtomicBool>,
    /// Whether anything was rolled back, savepoints aside, since the last BEGIN.
    rolled_back: Arc<AtomicBool>,
}

struct Shared {
    idle: Mutex<Vec<Slot>>,
    permits: Arc<Semaphore>,
    size: u32,
    options: SqliteConnectOptions,
    writes: bool,
    opened: AtomicU64,
}

/// The connections.
#[derive(Clone)]
pub(super) struct Lane(Arc<Shared>);

/// A borrowed connection. Goes back when dropped.
pub struct Lease {
    // Some until the lease is dropped.
    slot: Option<Slot>,
    lane: Lane,
    // Declared last, so that the slot is back before the next borrower wakes.
    _permit: OwnedSemaphorePermit,
}

impl Lane {
    /// The one connection that writes.
    pub(super) fn writer(options: SqliteConnectOptions) -> Self {
        Self::new(options, 1, true)
    }

    /// Connections that only read.
    pub(super) fn readers(options: SqliteConnectOptions, size: u32) -> Self {
        Self::new(options, size, false)
    }

    fn new(options: SqliteConnectOptions, size: u32, writes: bool) -> Self {
        let permits = Arc::new(Semaphore::new(size as usize));
        let opened = AtomicU64::new(0);
        Self(Arc::new(Shared { idle: Mutex::default(), permits, size, options, writes, opened }))
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Slot>> {
        self.0.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits its turn (first come, first served). Cancel safe: a repair that was begun is finished by the next borrower.
    pub(super) async fn acquire(&self) -> Result<Lease, StorageError> {
        let permit = Arc::clone(&self.0.permits).acquire_owned().await;
        let permit = permit.map_err(|_| StorageError::Busy("it is being closed"))?;
        let idle = self.idle().pop();
        if let Some(slot) = idle {
            let state = slot.state;
            let mut lease = Lease { slot: Some(slot), lane: self.clone(), _permit: permit };
            match state {
                State::Clean => return Ok(lease),
                State::Open => match lease.roll_back().await {
                    Ok(()) => return Ok(lease),
                    Err(error) => tracing::warn!(%error, "replacing a connection that could not be rolled back"),
                },
                State::Doomed => {}
            }
            // Closing the connection rolls back what is open on it.
            drop(lease.slot.take());
            lease.slot = Some(self.connect().await?);
            return Ok(lease);
        }
        Ok(Lease { slot: Some(self.connect().await?), lane: self.clone(), _permit: permit })
    }

    async fn connect(&self) -> Result<Slot, StorageError> {
        let mut connection = self.open().await?;
        let (may_commit, rolled_back) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        if self.0.writes {
            // Some failures (a full disk, ON CONFLICT ROLLBACK) make SQLite roll back by itself. If the work overlooks
            // the error, its later statements would each commit on their own, half an order at a time. So nothing
            // commits on this connection but the COMMIT of `Engine::commit`.
            let (asked, told) = (Arc::clone(&may_commit), Arc::clone(&rolled_back));
            let mut handle = connection.lock_handle().await?;
            handle.set_commit_hook(move || asked.load(Ordering::Acquire));
            // And the next member of a shared transaction must not take what is left of it for the transaction.
            handle.set_rollback_hook(move || told.store(true, Ordering::Release));
        }
        let serial = self.0.opened.fetch_add(1, Ordering::Relaxed);
        Ok(Slot { connection, serial, state: State::Clean, may_commit, rolled_back })
    }

    /// Opens the file. Of two processes that open a new file at once and switch it to WAL, SQLite turns one away as busy
    /// without waiting, whatever its busy timeout is.
    async fn open(&self) -> Result<SqliteConnection, StorageError> {
        let limit = Instant::now() + OPEN_LIMIT;
        loop {
            match self.0.options.connect().await.map_err(StorageError::from) {
                Err(StorageError::Busy(_)) if Instant::now() < limit => tokio::time::sleep(OPEN_PAUSE).await,
                opened => return opened,
            }
        }
    }

    /// Waits for every lease and closes the connections; later borrowers are refused.
    pub(super) async fn close(&self) {
        let all = self.0.permits.acquire_many(self.0.size).await;
        self.0.permits.close();
        let idle = std::mem::take(&mut *self.idle());
        for slot in idle {
            if let Err(error) = slot.connection.close().await {
                tracing::warn!(%error, "closing a database connection");
            }
        }
        drop(all);
    }
}

impl Lease {
    fn slot_mut(&mut self) -> &mut Slot {
        self.slot.as_mut().expect("a lease has its connection until it is dropped")
    }

    /// Which of the lane's connections it is; never used again for another.
    pub(super) fn serial(&self) -> u64 {
        self.slot.as_ref().expect("a lease has its connection until it is dropped").serial
    }

    /// Notes what may be open from here on: to be called *before* BEGIN or COMMIT is sent, and after its answer.
    pub(super) fn set_state(&mut self, state: State) {
        self.slot_mut().state = state;
    }

    /// Allows or forbids COMMIT.
    pub(super) fn allow_commit(&mut self, allowed: bool) {
        self.slot_mut().may_commit.store(allowed, Ordering::Release);
    }

    /// From here on it counts what is rolled back: to be called before BEGIN is sent.
    pub(super) fn begin_whole(&mut self) {
        self.slot_mut().rolled_back.store(false, Ordering::Release);
    }

    /// Whether nothing was rolled back since, savepoints aside.
    pub(super) fn is_whole(&mut self) -> bool {
        !self.slot_mut().rolled_back.load(Ordering::Acquire)
    }

    /// Ends whatever transaction is open. Queued behind every earlier command of this connection, even those whose
    /// futures were dropped.
    pub(super) async fn roll_back(&mut self) -> Result<(), StorageError> {
        match sqlx::query("ROLLBACK").execute(&mut **self).await {
            Ok(_) => {}
            Err(sqlx::Error::Database(error)) if error.message().contains("no transaction is active") => {}
            Err(error) => return Err(error.into()),
        }
        self.set_state(State::Clean);
        Ok(())
    }
}

impl Deref for Lease {
    type Target = SqliteConnection;
    fn deref(&self) -> &SqliteConnection {
        &self.slot.as_ref().expect("a lease has its connection until it is dropped").connection
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.slot_mut().connection
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            self.lane.idle().push(slot);
        }
    }
}
