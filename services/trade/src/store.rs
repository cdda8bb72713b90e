//! All SQL of trade. Functions take the connection of a transaction that the caller has fenced.

mod campaign;
mod order;
mod place;
mod product;
mod quote;
mod redemption;
mod wallet;

pub use campaign::{OF_CODE, OF_PRODUCTS, OF_SPENDING, apply_campaigns};
pub use order::{find, list, orders};
pub use place::place_order;
pub use product::{Offer, apply, prices, stock};
pub use quote::Tariff;
pub use redemption::{REDEMPTIONS, Redemption, redemptions};
pub use wallet::{balance, top_up};

use crate::Error;
use sqlx::{Row, sqlite::SqliteRow};
use std::collections::HashMap;
use storage::{Migration, Positions, TableSpec, UserTables, WorkError};

/// Tables of this service, oldest version first.
pub const MIGRATIONS: &[Migration] = &[
    Migration { module: "trade", version: 1, name: "orders", sql: include_str!("../migrations/0001_trade.sql") },
    Migration { module: "trade", version: 2, name: "position", sql: include_str!("../migrations/0002_position.sql") },
    Migration { module: "trade", version: 3, name: "promotion", sql: include_str!("../migrations/0003_promotion.sql") },
];

/// How far the products follow the catalogue.
pub const POSITION: Positions = Positions::new("trade_catalog_position");

/// How far trade follows the campaigns.
pub const CAMPAIGN_POSITION: Positions = Positions::new("trade_campaign_position");

/// Tables with users' data: what moves with a user (OWN-13).
#[must_use]
pub fn user_tables() -> UserTables {
    UserTables::new(
        "trade",
        vec![
            TableSpec::new("trade_wallet", &["currency"]),
            TableSpec::new("trade_posting", &["entry_id", "account"]),
            TableSpec::new("trade_order", &["order_id"]),
            TableSpec::new("trade_order_line", &["order_id", "line"]),
            TableSpec::new("trade_order_discount", &["order_id", "place"]),
            TableSpec::new("trade_payment", &["payment_id"]),
            TableSpec::new("trade_redemption", &["campaign_id"]),
        ],
    )
}

/// How a statement ends: well, with a rule of trade, or with a failure of the database.
pub type Result<T> = std::result::Result<T, WorkError<Error>>;

/// A rule of trade that ends the transaction.
fn no<T>(error: Error) -> Result<T> {
    Err(WorkError::Business(error))
}

/// Reads a stored value, or says that it is damaged.
fn stored<T, E>(what: &'static str, value: std::result::Result<T, E>) -> Result<T> {
    value.or(Err(WorkError::Business(Error::Stored { what })))
}

/// Rows by a column of text.
fn grouped<'a>(rows: &'a [SqliteRow], column: &str) -> sqlx::Result<HashMap<&'a str, Vec<&'a SqliteRow>>> {
    let mut groups: HashMap<_, Vec<_>> = HashMap::new();
    for row in rows {
        groups.entry(row.try_get(column)?).or_default().push(row);
    }
    Ok(groups)
}
