//! All SQL of campaign. Functions take an open transaction on global data, or its connection where that is enough.

mod read;
mod row;
mod write;

pub use read::{after, find, list, of_product};
pub use write::{Change, clear, create, put, update};

use crate::Error;
use storage::{Migration, Positions, WorkError};

/// Tables of this service, oldest version first.
pub const MIGRATIONS: &[Migration] = &[Migration {
    module: "campaign",
    version: 1,
    name: "campaigns",
    sql: include_str!("../migrations/0001_campaign.sql"),
}];

/// Where this cell's campaigns stand.
pub const POSITION: Positions = Positions::new("campaign_position");

/// How a statement ends: well, with a rule of campaign, or with a failure of the database.
pub type Result<T> = std::result::Result<T, WorkError<Error>>;

/// A rule of campaign that ends the transaction.
fn no<T>(error: Error) -> Result<T> {
    Err(WorkError::Business(error))
}

/// Converts a value to or from a column, or says that what is stored is damaged.
fn stored<T, E>(what: &'static str, value: std::result::Result<T, E>) -> Result<T> {
    value.or(Err(WorkError::Business(Error::Stored { what })))
}
