//! Where data that one cell writes and others copy stands in this database.

use crate::{Db, Engine, Mode, Row, StorageError, Tx, TxKind, Value, WorkError};
use replication::{Batch, Position, ReplicationError, Standing};

/// The table with the position of one set of data. A service's migration makes it, in SQLite as
///
/// ```sql
/// CREATE TABLE rule_position (
///   id          INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
///   incarnation INTEGER NOT NULL,   -- the writer's history; a higher one replaces everything
///   sequence    INTEGER NOT NULL,   -- last change in it
///   writer      INTEGER NOT NULL    -- 1 where this cell wrote it, 0 where it is a copy
/// ) STRICT;
/// ```
///
/// and it has no row until something was written or received. But for [`follow_from`](Self::follow_from), each function is a part of
/// the transaction that reads or writes the data too.
#[derive(Clone, Copy, Debug)]
pub struct Positions(&'static str);

impl Positions {
    /// The positions in this table.
    #[must_use]
    pub const fn new(table: &'static str) -> Self {
        Self(table)
    }

    /// Where the data stands; `None` if nothing was written or received yet.
    ///
    /// # Errors
    /// With a failure of the database.
    pub async fn standing<E: Engine>(self, tx: &mut Tx<E>) -> Result<Option<Standing>, StorageError> {
        let sql = format!("SELECT incarnation, sequence, writer FROM {} WHERE id = 1", self.0);
        let read = |mut row: Row| {
            let position = Position { incarnation: row.unsigned()?, sequence: row.unsigned()? };
            Ok(Standing { position, writer: row.integer()? != 0 })
        };
        E::query(tx.conn(), &sql, vec![]).await?.pop().map(read).transpose()
    }

    /// From where a copy follows, in transactions of its own; `None` from the beginning. A writer is a copy afterwards.
    ///
    /// # Errors
    /// With a failure of the database.
    pub async fn follow_from<E: Engine>(self, db: &Db<E>) -> Result<Option<Position>, StorageError> {
        let read =
            db.upkeep(TxKind::GlobalRead, Mode::Read, move |tx| Box::pin(async move { Ok(self.standing(tx).await?) }));
        let standing = read.await?;
        if standing.is_some_and(|standing| standing.writer) {
            let end = db.upkeep(TxKind::Global, Mode::Write, move |tx| {
                Box::pin(async move { Ok(self.end_history(tx).await?) })
            });
            end.await?;
        }
        Ok(standing.map(|standing| standing.position))
    }

    /// Makes this cell the writer of a new history, later than `later_than`: see [`Position::begin`].
    ///
    /// # Errors
    /// With a failure of the database.
    pub async fn begin_history<E: Engine>(self, tx: &mut Tx<E>, later_than: u64) -> Result<Position, StorageError> {
        let position = Position::begin(self.locked(tx).await?, later_than, tx.now_ms());
        self.set(tx, position, true).await?;
        Ok(position)
    }

    /// Makes this cell a copy again. What it wrote is a closed history: should it write once more, it begins a later one.
    async fn end_history<E: Engine>(self, tx: &mut Tx<E>) -> Result<(), StorageError> {
        let sql = format!("UPDATE {} SET writer = 0 WHERE writer = 1", self.0);
        E::execute(tx.conn(), &sql, vec![]).await?;
        Ok(())
    }

    /// Takes the position of the next change, which is written here; a copy begins a history with it.
    ///
    /// # Errors
    /// With a failure of the database.
    pub async fn next<E: Engine>(self, tx: &mut Tx<E>) -> Result<Position, StorageError> {
        let position = match self.locked(tx).await? {
            Some(Standing { position, writer: true }) => position,
            copy => Position::begin(copy, 0, tx.now_ms()),
        };
        let position = position.next();
        self.set(tx, position, true).await?;
        Ok(position)
    }

    /// Takes the position of a batch that was received, before its items are written.
    ///
    /// # Errors
    /// If the batch does not fit ([`Batch::check`]), or with a failure of the database.
    pub async fn advance<E: Engine, T, B: From<ReplicationError>>(
        self,
        tx: &mut Tx<E>,
        batch: &Batch<T>,
    ) -> Result<(), WorkError<B>> {
        let standing = self.locked(tx).await?;
        batch.check(standing).map_err(|error| WorkError::Business(error.into()))?;
        Ok(self.set(tx, batch.position, false).await?)
    }

    /// Where the data stands and stays until the transaction ends, whoever else writes: read in the row's lock.
    async fn locked<E: Engine>(self, tx: &mut Tx<E>) -> Result<Option<Standing>, StorageError> {
        let sql = format!("UPDATE {} SET writer = writer WHERE id = 1", self.0);
        E::execute(tx.conn(), &sql, vec![]).await?;
        self.standing(tx).await
    }

    async fn set<E: Engine>(self, tx: &mut Tx<E>, position: Position, writer: bool) -> Result<(), StorageError> {
        let sql = E::upsert(self.0, &["id"], &["id", "incarnation", "sequence", "writer"]);
        let (incarnation, sequence) = (Value::unsigned(position.incarnation)?, Value::unsigned(position.sequence)?);
        E::execute(tx.conn(), &sql, vec![Value::Integer(1), incarnation, sequence, i64::from(writer).into()]).await?;
        Ok(())
    }
}
