//! SQLite: the embedded engine.
//!
//! Write-ahead log, `synchronous = FULL` (a commit is on disk before it is acknowledged), foreign keys on. One writer
//! connection per process behind a fair queue, so that writers of one process never spin on SQLite's lock; writers of
//! other processes are waited for up to the busy timeout. Readers have connections of their own, which cannot write.

mod fence;
mod lane;
mod schema;

pub use lane::Lease;

use crate::{
    Db, Engine, Migration, Mode, Row, Settings, StorageError, Value,
    engine::{BucketLock, CommitError, Fenced},
};
use cell_map::{BucketId, CellId, UserKey};
use lane::{Lane, State};
use sqlx::{
    AssertSqlSafe, Column as _, ConnectOptions as _, Row as _, SqlSafeStr as _, SqliteConnection, TypeInfo as _,
    Value as _, ValueRef as _,
    sqlite::{SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqliteRow, SqliteSynchronous},
};
use std::{path::PathBuf, time::Duration};

/// Where a SQLite database lies and how it is used.
#[derive(Clone)]
pub struct DbConfig {
    /// The file; created if missing. Its `-wal` and `-shm` files lie beside it.
    pub path: PathBuf,
    /// Connections for reads. Default: 4.
    pub readers: u32,
    /// Longest wait for a lock held by another process. Default: 2 s.
    pub busy_timeout: Duration,
    /// What every engine is told.
    pub settings: Settings,
}

impl DbConfig {
    /// The defaults, for this file and cell.
    pub fn new(path: impl Into<PathBuf>, cell: CellId) -> Self {
        Self { path: path.into(), readers: 4, busy_timeout: Duration::from_secs(2), settings: Settings::new(cell) }
    }
}

/// SQLite behind the [`Engine`] port.
pub struct Sqlite {
    writer: Lane,
    readers: Lane,
}

impl Sqlite {
    /// The engine over this file. Connects when first used.
    #[must_use]
    pub fn new(config: &DbConfig) -> Self {
        let base = SqliteConnectOptions::new()
            .filename(&config.path)
            .foreign_keys(true)
            .busy_timeout(config.busy_timeout)
            .statement_cache_capacity(256)
            .disable_statement_logging();
        let writer = base
            .clone()
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full);
        let readers = base.pragma("query_only", "1");
        Self { writer: Lane::writer(writer), readers: Lane::readers(readers, config.readers.max(1)) }
    }
}

impl Db<Sqlite> {
    /// Opens a cell's SQLite database, creates it if it is missing, and applies the migrations it lacks.
    ///
    /// # Errors
    /// If the file cannot be opened, a migration fails or was edited, or the database is another cell's.
    pub async fn open(config: DbConfig, migrations: &[Migration]) -> Result<Self, StorageError> {
        Self::with_engine(Sqlite::new(&config), config.settings, migrations).await
    }
}

impl Engine for Sqlite {
    type Connection = SqliteConnection;
    type Lease = Lease;

    const SYSTEM: &'static str = "sqlite";
    const SCHEMA: &'static [(&'static str, &'static str)] = schema::SCHEMA;

    async fn acquire(&self, mode: Mode) -> Result<Lease, StorageError> {
        match mode {
            Mode::Read => self.readers.acquire().await,
            Mode::Write => self.writer.acquire().await,
        }
    }

    async fn begin(lease: &mut Lease, mode: Mode) -> Result<(), StorageError> {
        lease.set_state(State::Open);
        lease.begin_whole();
        let sql = match mode {
            // Its snapshot is taken by its first statement, which is the fence.
            Mode::Read => "BEGIN DEFERRED",
            // Takes the write lock at once: upgrading a read transaction later would fail instead of waiting.
            Mode::Write => "BEGIN IMMEDIATE",
        };
        sqlx::query(sql).execute(&mut **lease).await?;
        Ok(())
    }

    async fn commit(lease: &mut Lease) -> Result<(), CommitError> {
        lease.set_state(State::Doomed);
        lease.allow_commit(true);
        let ended = sqlx::query("COMMIT").execute(&mut **lease).await;
        lease.allow_commit(false);
        match ended {
            Ok(_) => {
                lease.set_state(State::Clean);
                Ok(())
            }
            Err(error) => match crate::error::database_code(&error).map(|code| code & 0xff) {
                // SQLITE_ERROR (none is open: an earlier failure rolled it back), BUSY, FULL, CONSTRAINT (deferred
                // foreign keys): SQLite says that nothing was committed.
                Some(1 | 5 | 13 | 19) => {
                    lease.set_state(State::Open);
                    Err(CommitError::Refused(error.into()))
                }
                // An I/O error may come after the commit record was written.
                _ => Err(CommitError::Unknown(error.to_string())),
            },
        }
    }

    async fn rollback(lease: &mut Lease) -> Result<(), StorageError> {
        lease.roll_back().await
    }

    async fn shares_commits(connection: &mut SqliteConnection) -> Result<bool, StorageError> {
        let sql = "SELECT COUNT(*) FROM sqlite_master WHERE sql LIKE '%DEFERRABLE%'";
        let deferred: i64 = sqlx::query_scalar(sql).fetch_one(connection).await?;
        Ok(deferred == 0)
    }

    fn is_whole(lease: &mut Lease) -> bool {
        lease.is_whole()
    }

    async fn fence(
        connection: &mut SqliteConnection,
        _mode: Mode,
        // A write transaction holds the database's one write lock, a read its snapshot: both are as good as any lock
        // on the bucket, and nothing can come between this query and the rest.
        _lock: BucketLock,
        bucket: BucketId,
        key: &UserKey,
    ) -> Result<Option<Fenced>, StorageError> {
        fence::rows(connection, bucket, key).await
    }

    async fn fence_each(
        connection: &mut SqliteConnection,
        _mode: Mode,
        _lock: BucketLock,
        keys: &[(BucketId, &UserKey)],
    ) -> Result<Vec<Option<Fenced>>, StorageError> {
        fence::rows_of_each(connection, keys).await
    }

    async fn lock_bucket(_: &mut SqliteConnection, _: BucketLock, _: BucketId) -> Result<(), StorageError> {
        Ok(())
    }

    async fn query(connection: &mut SqliteConnection, sql: &str, values: Vec<Value>) -> Result<Vec<Row>, StorageError> {
        let rows = bind(sql, values).fetch_all(connection).await?;
        rows.iter().map(read).collect()
    }

    async fn execute(connection: &mut SqliteConnection, sql: &str, values: Vec<Value>) -> Result<u64, StorageError> {
        Ok(bind(sql, values).execute(connection).await?.rows_affected())
    }

    async fn script(connection: &mut SqliteConnection, sql: &str) -> Result<(), StorageError> {
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(connection).await?;
        Ok(())
    }

    async fn foreign_commits(&self) -> Result<Option<(u64, i64)>, StorageError> {
        // On the connection that makes this process's own commits, for those do not change its number.
        let mut lease = self.writer.acquire().await?;
        lease.set_state(State::Open);
        let version = sqlx::query_scalar("PRAGMA data_version").fetch_one(&mut *lease).await?;
        lease.set_state(State::Clean);
        // A new connection counts anew.
        Ok(Some((lease.serial(), version)))
    }

    async fn tables_with_column(connection: &mut SqliteConnection, column: &str) -> Result<Vec<String>, StorageError> {
        // Virtual tables keep their rows in shadow tables, which the join skips by name only if they lack the column.
        let sql = "SELECT t.name FROM sqlite_master AS t JOIN pragma_table_info(t.name) AS c ON c.name = ?
                   WHERE t.type = 'table' ORDER BY t.name";
        let rows = Self::query(connection, sql, vec![column.into()]).await?;
        rows.into_iter().map(|mut row| row.text()).collect()
    }

    async fn columns(connection: &mut SqliteConnection, table: &str) -> Result<Vec<String>, StorageError> {
        // Generated columns are hidden from table_info.
        let sql = "SELECT name FROM pragma_table_info(?) ORDER BY cid";
        let rows = Self::query(connection, sql, vec![table.into()]).await?;
        rows.into_iter().map(|mut row| row.text()).collect()
    }

    async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// The SQL comes from this crate or from table and column names of the schema, never from a caller's data.
fn bind(sql: &str, values: Vec<Value>) -> sqlx::query::Query<'static, sqlx::Sqlite, SqliteArguments> {
    let mut query = sqlx::query(AssertSqlSafe(sql.to_owned()).into_sql_str());
    for value in values {
        query = match value {
            Value::Null => query.bind(None::<i64>),
            Value::Integer(number) => query.bind(number),
            Value::Real(number) => query.bind(number),
            Value::Text(text) => query.bind(text),
            Value::Blob(bytes) => query.bind(bytes),
        };
    }
    query
}

fn read(row: &SqliteRow) -> Result<Row, StorageError> {
    let mut values = Vec::with_capacity(row.len());
    for column in row.columns() {
        let value = row.try_get_raw(column.ordinal())?;
        // SQLite's types are those of values, not of columns.
        let value = value.to_owned();
        values.push(if value.is_null() {
            Value::Null
        } else {
            match value.type_info().name() {
                "INTEGER" => Value::Integer(value.try_decode()?),
                "REAL" => Value::Real(value.try_decode()?),
                "TEXT" => Value::Text(value.try_decode()?),
                "BLOB" => Value::Blob(value.try_decode()?),
                other => return Err(StorageError::Corrupt(format!("column \"{}\" has type {other}", column.name()))),
            }
        });
    }
    Ok(Row::new(values))
}
