//! COMMIT whose answer is lost: reported as such, and settled by the idempotency key.

use cell_map::{BucketId, UserKey};
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};
use storage::{
    BucketLock, Class, CommitError, Db, DbConfig, Engine, Fenced, IdempotencyKey, Mode, Outcome, Row, Settings, Sqlite,
    StorageError, TxError, Value,
    conformance::{Work, add, here, idempotency::Receipt, items, key_of, map, migrations, plain},
};

use crate::sqlite::Files;
use tokio::sync::Mutex;

/// SQLite whose answers to COMMIT get lost, some before the commit took place and some after.
pub struct Lossy {
    inner: Sqlite,
    lose: Arc<Losses>,
}

#[derive(Default)]
pub struct Losses {
    pub before: AtomicBool,
    pub after: AtomicBool,
    /// The next COMMIT is refused.
    pub refuse: AtomicBool,
    /// COMMITs of writes that were asked for.
    pub commits: AtomicUsize,
    /// Held by whoever wants none to go on.
    pub gate: Mutex<()>,
}

pub struct Lease {
    inner: <Sqlite as Engine>::Lease,
    mode: Mode,
    lose: Arc<Losses>,
}

impl std::ops::Deref for Lease {
    type Target = <Sqlite as Engine>::Connection;
    fn deref(&self) -> &Self::Target {
        &self.inner
    }
}

impl std::ops::DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.inner
    }
}

impl Engine for Lossy {
    type Connection = <Sqlite as Engine>::Connection;
    type Lease = Lease;
    const SYSTEM: &'static str = Sqlite::SYSTEM;
    const SCHEMA: &'static [(&'static str, &'static str)] = Sqlite::SCHEMA;

    async fn acquire(&self, mode: Mode) -> Result<Lease, StorageError> {
        Ok(Lease { inner: self.inner.acquire(mode).await?, mode, lose: Arc::clone(&self.lose) })
    }
    async fn begin(lease: &mut Lease, mode: Mode) -> Result<(), StorageError> {
        Sqlite::begin(&mut lease.inner, mode).await
    }
    async fn commit(lease: &mut Lease) -> Result<(), CommitError> {
        if lease.mode == Mode::Read {
            return Sqlite::commit(&mut lease.inner).await;
        }
        lease.lose.commits.fetch_add(1, Ordering::SeqCst);
        drop(lease.lose.gate.lock().await);
        if lease.lose.refuse.swap(false, Ordering::SeqCst) {
            return Err(CommitError::Refused(StorageError::Busy("refused on purpose")));
        }
        if lease.lose.before.swap(false, Ordering::SeqCst) {
            return Err(CommitError::Unknown("lost on the way there".into()));
        }
        Sqlite::commit(&mut lease.inner).await?;
        if lease.lose.after.swap(false, Ordering::SeqCst) {
            return Err(CommitError::Unknown("lost on the way back".into()));
        }
        Ok(())
    }
    async fn rollback(lease: &mut Lease) -> Result<(), StorageError> {
        Sqlite::rollback(&mut lease.inner).await
    }
    async fn shares_commits(connection: &mut Self::Connection) -> Result<bool, StorageError> {
        Sqlite::shares_commits(connection).await
    }
    fn is_whole(lease: &mut Lease) -> bool {
        Sqlite::is_whole(&mut lease.inner)
    }
    async fn fence(
        connection: &mut Self::Connection,
        mode: Mode,
        lock: BucketLock,
        bucket: BucketId,
        key: &UserKey,
    ) -> Result<Option<Fenced>, StorageError> {
        Sqlite::fence(connection, mode, lock, bucket, key).await
    }
    async fn lock_bucket(
        connection: &mut Self::Connection,
        lock: BucketLock,
        bucket: BucketId,
    ) -> Result<(), StorageError> {
        Sqlite::lock_bucket(connection, lock, bucket).await
    }
    async fn query(connection: &mut Self::Connection, sql: &str, values: Vec<Value>) -> Result<Vec<Row>, StorageError> {
        Sqlite::query(connection, sql, values).await
    }
    async fn execute(connection: &mut Self::Connection, sql: &str, values: Vec<Value>) -> Result<u64, StorageError> {
        Sqlite::execute(connection, sql, values).await
    }
    async fn script(connection: &mut Self::Connection, sql: &str) -> Result<(), StorageError> {
        Sqlite::script(connection, sql).await
    }
    async fn tables_with_column(connection: &mut Self::Connection, column: &str) -> Result<Vec<String>, StorageError> {
        Sqlite::tables_with_column(connection, column).await
    }
    async fn columns(connection: &mut Self::Connection, table: &str) -> Result<Vec<String>, StorageError> {
        Sqlite::columns(connection, table).await
    }
    async fn close(&self) {
        self.inner.close().await;
    }
}

/// A database over it.
pub async fn lossy(place: &tempfile::TempDir, settings: Settings) -> (Db<Lossy>, Arc<Losses>) {
    let config = DbConfig::new(place.path().join("cell.db"), here());
    let lose = Arc::new(Losses::default());
    let engine = Lossy { inner: Sqlite::new(&config), lose: Arc::clone(&lose) };
    let db = Db::with_engine(engine, settings, &migrations::<Files>()).await.expect("open");
    db.bootstrap_ownership(&map(), &here()).await.expect("bootstrap");
    (db, lose)
}

async fn call(db: &Db<Lossy>, user: &UserKey) -> Result<Outcome<Receipt>, TxError<storage::conformance::SuiteError>> {
    let key = IdempotencyKey::new("/suite.v1.Suite/Add", "r1", b"b").expect("a short id");
    let owned = user.clone();
    let request = plain(user);
    let work = db.idempotent(&request, key, move |tx| {
        Box::pin(async move {
            add(tx, owned, 1, 1).await?;
            Work::Ok(Receipt { serial: 5 })
        })
    });
    work.await
}

#[tokio::test]
async fn a_lost_answer_to_commit_is_unknown_and_repeating_settles_it() {
    for lost_after_the_commit in [false, true] {
        let place = tempfile::tempdir().expect("a folder");
        let (db, lose) = lossy(&place, Settings::new(here())).await;
        let user = key_of(&here(), 0);

        let loss = if lost_after_the_commit { &lose.after } else { &lose.before };
        loss.store(true, Ordering::SeqCst);
        let ended = call(&db, &user).await;
        let Err(TxError::Storage(error)) = ended else { panic!("{ended:?}") };
        assert!(matches!(error, StorageError::CommitUnknown(_)), "{error:?}");
        assert_eq!(error.class(), Class::Unknown);

        let again = call(&db, &user).await.expect("settled");
        assert_eq!(again.is_replayed(), lost_after_the_commit);
        assert_eq!(items(&db, &user).await, [(1, 1)], "once, whichever way the answer was lost");
    }
}
