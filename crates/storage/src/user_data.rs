//! Everything a cell stores about one user, so that it can move (OWN-13).
//!
//! Each service names its user-scoped tables by [`UserTables`] (or implements [`UserData`] by hand), and
//! [`check_participants`] finds the table that everybody forgot. A table is user-scoped if it has a column
//! [`USER_KEY`]; that is a rule for schemas, not only for the ones that move today.

mod table;

pub use table::{TableSpec, UserTables};

use crate::{BoxFuture, Db, Engine, Mode, Sqlite, StorageError, TxKind, Value};
use cell_map::UserKey;
use std::{collections::BTreeMap, sync::Arc};

/// The column that makes a table user-scoped.
pub const USER_KEY: &str = "user_key";

/// Tables of the protocol itself: they say who is home and are never moved.
pub(crate) const OWNERSHIP_TABLES: [&str; 2] = ["cell_user", "away"];

/// Where an export goes on: after the last row of the page before.
#[derive(Clone, Debug, PartialEq)]
pub struct ExportCursor {
    table: usize,
    after: Vec<Value>,
}

/// A page of a user's rows, all of one table.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows {
    /// The table.
    pub table: String,
    /// Its columns, in the order of the values.
    pub columns: Vec<String>,
    /// The rows.
    pub rows: Vec<Vec<Value>>,
}

/// A page and where the next begins; none if it was the last.
#[derive(Clone, Debug, PartialEq)]
pub struct ExportPage {
    /// The rows.
    pub rows: Rows,
    /// Where to go on.
    pub next: Option<ExportCursor>,
}

/// One participant in the move of a user's data. Its functions run inside transactions of the move.
pub trait UserData<E: Engine = Sqlite>: Send + Sync {
    /// Whose data, for instance a service's name.
    fn name(&self) -> &str;

    /// The tables it covers.
    fn tables(&self) -> Vec<&'static str>;

    /// One page of at most `limit` rows, from the beginning or from a cursor of the page before.
    fn export<'c>(
        &'c self,
        connection: &'c mut E::Connection,
        key: &'c UserKey,
        from: Option<ExportCursor>,
        limit: u32,
    ) -> BoxFuture<'c, Result<ExportPage, StorageError>>;

    /// Writes exported rows, over those that are there; importing a page twice is importing it once.
    fn import<'c>(
        &'c self,
        connection: &'c mut E::Connection,
        key: &'c UserKey,
        rows: Rows,
    ) -> BoxFuture<'c, Result<(), StorageError>>;

    /// A digest of all the user's rows. Equal data gives equal digests in every cell.
    fn digest<'c>(
        &'c self,
        connection: &'c mut E::Connection,
        key: &'c UserKey,
    ) -> BoxFuture<'c, Result<[u8; 32], StorageError>>;

    /// Deletes all the user's rows; returns how many there were.
    fn purge<'c>(
        &'c self,
        connection: &'c mut E::Connection,
        key: &'c UserKey,
    ) -> BoxFuture<'c, Result<u64, StorageError>>;
}

/// Every participant of a database but this crate's own, which are added by themselves.
pub type Participants<E = Sqlite> = Arc<[Arc<dyn UserData<E>>]>;

/// This crate's own participants: positions, answers of idempotency keys, and events that wait for delivery.
#[must_use]
pub fn own_participants() -> UserTables {
    UserTables::new(
        "cellmesh",
        vec![
            // A new home goes on counting.
            TableSpec::new("user_position", &[]),
            TableSpec::new("idempotency", &["method", "request_id"]),
            // Events that are not delivered yet move with their user; ids belong to the table, states to the cell.
            TableSpec::new("outbox", &["stream", "user_epoch", "sequence"])
                .omit(&["id", "state", "done_ms"])
                .only("stream = 'events' AND state <> 'done'")
                .import_with("state", "importing"),
        ],
    )
}

/// What is wrong with the list of participants.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
#[error(
    "user-scoped tables without a participant: {uncovered:?}; tables of participants that do not exist or have no \
     column \"user_key\": {missing:?}; tables with several participants: {doubled:?}"
)]
pub struct CoverageError {
    /// User-scoped tables that nobody covers.
    pub uncovered: Vec<String>,
    /// Tables that a participant names but the database does not have as user-scoped.
    pub missing: Vec<String>,
    /// Tables that several participants cover.
    pub doubled: Vec<String>,
}

/// Compares the participants with the tables of the database. [`own_participants`] are added by themselves.
///
/// # Errors
/// If the database failed.
pub async fn check_participants<E: Engine>(
    db: &Db<E>,
    participants: &[&dyn UserData<E>],
) -> Result<Result<(), CoverageError>, StorageError> {
    let tables = db.upkeep(TxKind::Upkeep, Mode::Read, |tx| {
        Box::pin(async move { Ok(E::tables_with_column(tx.conn(), USER_KEY).await?) })
    });
    let tables = tables.await?;
    let own = own_participants();
    let own: &dyn UserData<E> = &own;
    let mut covered: BTreeMap<&'static str, u32> = BTreeMap::new();
    for table in std::iter::once(own).chain(participants.iter().copied()).flat_map(UserData::tables) {
        *covered.entry(table).or_default() += 1;
    }
    let exempt = |table: &str| OWNERSHIP_TABLES.contains(&table);
    let error = CoverageError {
        uncovered: tables.iter().filter(|t| !exempt(t) && !covered.contains_key(t.as_str())).cloned().collect(),
        missing: covered.keys().filter(|t| !tables.iter().any(|u| u == *t)).map(|t| (*t).to_owned()).collect(),
        doubled: covered.iter().filter(|(_, times)| **times > 1).map(|(t, _)| (*t).to_owned()).collect(),
    };
    Ok(if error == CoverageError::default() { Ok(()) } else { Err(error) })
}
