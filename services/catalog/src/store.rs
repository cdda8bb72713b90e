//! All SQL of catalog. Functions take the connection of an open transaction on global data.

mod read;
mod write;

pub use read::{after, find, list, position};
pub use write::{Standing, apply, begin_history, create, end_history, update};

use crate::Error;
use storage::{Migration, WorkError};

/// Tables of this service, oldest version first.
pub const MIGRATIONS: &[Migration] = &[Migration {
    module: "catalog",
    version: 1,
    name: "products",
    sql: include_str!("../migrations/0001_catalog.sql"),
}];

/// How a statement ends: well, with a rule of catalog, or with a failure of the database.
pub type Result<T> = std::result::Result<T, WorkError<Error>>;

/// A rule of catalog that ends the transaction.
fn no<T>(error: Error) -> Result<T> {
    Err(WorkError::Business(error))
}

/// Converts a value to or from a column, or says that what is stored is damaged.
fn stored<T, E>(what: &'static str, value: std::result::Result<T, E>) -> Result<T> {
    value.or(Err(WorkError::Business(Error::Stored { what })))
}
