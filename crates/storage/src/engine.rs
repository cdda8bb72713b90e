//! The port that every database implements.

use crate::{Row, StorageError, Value};
use cell_map::{BucketId, UserKey, ownership::KeyRows};
use std::ops::DerefMut;

/// What a transaction will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Read from one snapshot.
    Read,
    /// Read and write.
    Write,
}

/// Why a COMMIT failed.
#[derive(Debug)]
pub enum CommitError {
    /// The database refused it: nothing was committed, the transaction is still open.
    Refused(StorageError),
    /// Nobody knows, for instance because the connection broke after COMMIT was sent.
    Unknown(String),
}

/// What the fence's query found.
#[derive(Clone, Debug)]
pub struct Fenced {
    /// The key's rows.
    pub rows: KeyRows,
    /// The user's position; 0 if nothing was ever written. Of a write it is only what it was before.
    pub position: u64,
}

/// How strongly a bucket row is locked (OWN-4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BucketLock {
    /// By every fenced transaction.
    Shared,
    /// By every step that changes ownership.
    Exclusive,
}

/// A database as this crate needs it. SQLite now; MySQL/MariaDB and PostgreSQL implement the same few functions and
/// pass the same conformance suite (feature `conformance`).
///
/// The engine knows connections, locks and the dialect. It knows nothing of idempotency, outbox, moves or services.
///
/// **Statements** of this crate are written once, with `?` for each parameter, in the SQL that SQLite, MySQL and
/// PostgreSQL share; an engine whose placeholders differ rewrites them. What they do not share is a function here.
pub trait Engine: Send + Sync + Sized + 'static {
    /// What services run their own SQL on.
    type Connection: Send;
    /// A connection taken from its pool, and the transaction on it if one is open. **Dropping it at any moment, with
    /// a statement or a `begin` under way or not, must never hand the open transaction to the next borrower.**
    type Lease: DerefMut<Target = Self::Connection> + Send;

    /// `db.system.name` of OpenTelemetry's conventions.
    const SYSTEM: &'static str;
    /// DDL of this crate's own tables, oldest version first: (name, SQL).
    const SCHEMA: &'static [(&'static str, &'static str)];

    /// Waits in a fair queue for a connection. Cancel safe.
    fn acquire(&self, mode: Mode) -> impl Future<Output = Result<Self::Lease, StorageError>> + Send;

    /// Begins a transaction.
    fn begin(lease: &mut Self::Lease, mode: Mode) -> impl Future<Output = Result<(), StorageError>> + Send;

    /// Commits it.
    fn commit(lease: &mut Self::Lease) -> impl Future<Output = Result<(), CommitError>> + Send;

    /// Rolls it back.
    fn rollback(lease: &mut Self::Lease) -> impl Future<Output = Result<(), StorageError>> + Send;

    /// Whether write transactions of this process run one after another anyway, so that those at work at once may share
    /// one COMMIT, each in a savepoint. `false`, the default, if a database with many writers gathers COMMITs itself.
    /// Also `false` if a check may be put off until COMMIT: one member's mistake would then be all members'.
    fn shares_commits(connection: &mut Self::Connection) -> impl Future<Output = Result<bool, StorageError>> + Send {
        let _ = connection;
        async { Ok(false) }
    }

    /// Whether the transaction is still the one that was begun. An engine whose database may roll back by itself, which
    /// work may overlook, says `false` from then on.
    fn is_whole(lease: &mut Self::Lease) -> bool {
        let _ = lease;
        true
    }

    /// Opens a savepoint in a shared transaction; there is never more than one.
    fn savepoint(lease: &mut Self::Lease) -> impl Future<Output = Result<(), StorageError>> + Send {
        async move { Self::execute(lease, "SAVEPOINT cellmesh_member", vec![]).await.map(drop) }
    }

    /// Keeps what was done since the savepoint.
    fn release(lease: &mut Self::Lease) -> impl Future<Output = Result<(), StorageError>> + Send {
        async move { Self::execute(lease, "RELEASE SAVEPOINT cellmesh_member", vec![]).await.map(drop) }
    }

    /// Takes back what was done since the savepoint, and closes it.
    fn undo(lease: &mut Self::Lease) -> impl Future<Output = Result<(), StorageError>> + Send {
        async move {
            Self::execute(lease, "ROLLBACK TO SAVEPOINT cellmesh_member", vec![]).await?;
            Self::release(lease).await
        }
    }

    /// Locks the bucket's row and then reads the key's rows in that lock: the first statement of a fenced
    /// transaction (OWN-4, OWN-5). `None` if the bucket has no row. In [`Mode::Read`] it locks nothing, but the rows
    /// and the position must come from the snapshot that later statements see.
    fn fence(
        connection: &mut Self::Connection,
        mode: Mode,
        lock: BucketLock,
        bucket: BucketId,
        key: &UserKey,
    ) -> impl Future<Output = Result<Option<Fenced>, StorageError>> + Send;

    /// The same for several keys, one result for each in their order. The default asks for one after another.
    fn fence_each(
        connection: &mut Self::Connection,
        mode: Mode,
        lock: BucketLock,
        keys: &[(BucketId, &UserKey)],
    ) -> impl Future<Output = Result<Vec<Option<Fenced>>, StorageError>> + Send {
        async move {
            let mut found = Vec::with_capacity(keys.len());
            for (bucket, key) in keys {
                found.push(Self::fence(connection, mode, lock, *bucket, key).await?);
            }
            Ok(found)
        }
    }

    /// Locks a bucket's row alone.
    fn lock_bucket(
        connection: &mut Self::Connection,
        lock: BucketLock,
        bucket: BucketId,
    ) -> impl Future<Output = Result<(), StorageError>> + Send;

    /// Runs a query.
    fn query(
        connection: &mut Self::Connection,
        sql: &str,
        values: Vec<Value>,
    ) -> impl Future<Output = Result<Vec<Row>, StorageError>> + Send;

    /// Runs a statement and returns how many rows it changed.
    fn execute(
        connection: &mut Self::Connection,
        sql: &str,
        values: Vec<Value>,
    ) -> impl Future<Output = Result<u64, StorageError>> + Send;

    /// Runs a script of several statements without parameters.
    fn script(connection: &mut Self::Connection, sql: &str) -> impl Future<Output = Result<(), StorageError>> + Send;

    /// An INSERT of one row, with a parameter for each of `columns`, that overwrites the row with the same values in
    /// the `unique` columns. The default is the dialect of SQLite and PostgreSQL.
    fn upsert(table: &str, unique: &[&str], columns: &[&str]) -> String {
        let marks = vec!["?"; columns.len()].join(", ");
        let update = columns.iter().filter(|column| !unique.contains(column));
        let update: Vec<_> = update.map(|column| format!("{column} = excluded.{column}")).collect();
        let conflict =
            if update.is_empty() { "NOTHING".to_owned() } else { format!("UPDATE SET {}", update.join(", ")) };
        let (columns, unique) = (columns.join(", "), unique.join(", "));
        format!("INSERT INTO {table} ({columns}) VALUES ({marks}) ON CONFLICT ({unique}) DO {conflict}")
    }

    /// Counts up a user's position and gives the new one. Writers of one user wait here for each other until they have
    /// committed, so that positions become visible in their order. The default is the dialect of SQLite and PostgreSQL.
    fn next_position(
        connection: &mut Self::Connection,
        key: &UserKey,
    ) -> impl Future<Output = Result<u64, StorageError>> + Send {
        async move {
            let sql = "INSERT INTO user_position (user_key, position) VALUES (?, 1)
                       ON CONFLICT (user_key) DO UPDATE SET position = user_position.position + 1 RETURNING position";
            let counted = Self::query(connection, sql, vec![key.as_bytes().into()]).await?.pop();
            counted.ok_or_else(|| StorageError::Corrupt("a position was not counted".into()))?.unsigned()
        }
    }

    /// A mark that stays equal as long as nothing was committed to the database but by this engine's own
    /// [`Mode::Write`] transactions; `None`, the default, if the engine cannot tell. It is taken when no such transaction
    /// is between its COMMIT and the return of its lease.
    fn foreign_commits(&self) -> impl Future<Output = Result<Option<(u64, i64)>, StorageError>> + Send {
        async { Ok(None) }
    }

    /// Every table with a column of this name, in order.
    fn tables_with_column(
        connection: &mut Self::Connection,
        column: &str,
    ) -> impl Future<Output = Result<Vec<String>, StorageError>> + Send;

    /// The columns of a table that can be written, in order; none if there is no such table.
    fn columns(
        connection: &mut Self::Connection,
        table: &str,
    ) -> impl Future<Output = Result<Vec<String>, StorageError>> + Send;

    /// Closes every connection, after those in use came back.
    fn close(&self) -> impl Future<Output = ()> + Send;
}
