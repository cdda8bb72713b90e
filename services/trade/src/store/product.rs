//! Products as this cell sells them.

use super::{POSITION, Result, no, stored};
use crate::{Error, domain::Stock};
use replication::Batch;
use shop_logic::{Currency, Line, Lines, Money, Sku};
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};
use std::collections::HashMap;
use storage::Tx;

/// A product of the catalogue, seen from this cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Which.
    pub sku: Sku,
    /// Price of one.
    pub unit_price: Money,
    /// Catalogue version of the price.
    pub version: u64,
    /// How many this cell may sell in all.
    pub allotted: i64,
}

/// Takes the lines' quantities from stock and returns the present unit prices, in the lines' sequence. One conditional
/// UPDATE for each line: whatever runs beside it, no unit is sold twice. Rows are locked in the order of their SKUs.
pub(super) async fn take(conn: &mut SqliteConnection, lines: &Lines) -> Result<Vec<Money>> {
    let mut prices = vec![None; lines.as_slice().len()];
    for at in lines.by_sku() {
        let Line { sku, quantity } = &lines.as_slice()[at];
        let taken = sqlx::query(
            "UPDATE trade_product SET sold = sold + ?2
             WHERE sku = ?1 AND listed = 1 AND allotted - sold >= ?2
             RETURNING currency, unit_price_minor",
        )
        .bind(sku.as_str())
        .bind(i64::from(quantity.get()))
        .fetch_optional(&mut *conn)
        .await?;
        match taken {
            Some(row) => prices[at] = Some(unit_price(&row)?),
            None => return no(why_not(conn, sku).await?),
        }
    }
    prices.into_iter().collect::<Option<_>>().map_or_else(|| no(Error::Stored { what: "price" }), Ok)
}

async fn why_not(conn: &mut SqliteConnection, sku: &Sku) -> Result<Error> {
    let row = sqlx::query("SELECT allotted - sold FROM trade_product WHERE sku = ? AND listed = 1")
        .bind(sku.as_str())
        .fetch_optional(conn)
        .await?;
    Ok(match row {
        Some(row) => Error::SoldOutHere { sku: sku.clone(), available: row.try_get(0)? },
        None => shop_logic::PriceError::UnknownSku(sku.clone()).into(),
    })
}

fn unit_price(row: &SqliteRow) -> Result<Money> {
    let currency = stored("currency", Currency::new(row.try_get("currency")?))?;
    Ok(Money::new(currency, row.try_get("unit_price_minor")?))
}

/// Present unit prices of those products that are sold here.
///
/// # Errors
/// With a failure of the database.
pub async fn prices(conn: &mut SqliteConnection, lines: &Lines) -> Result<HashMap<Sku, Money>> {
    let mut found = HashMap::with_capacity(lines.as_slice().len());
    for Line { sku, .. } in lines.as_slice() {
        let row = sqlx::query("SELECT currency, unit_price_minor FROM trade_product WHERE sku = ? AND listed = 1")
            .bind(sku.as_str())
            .fetch_optional(&mut *conn)
            .await?;
        if let Some(row) = row {
            found.insert(sku.clone(), unit_price(&row)?);
        }
    }
    Ok(found)
}

/// What this cell has left of each product, in the order asked; 0 of an unknown one.
///
/// # Errors
/// With a failure of the database.
pub async fn stock(conn: &mut SqliteConnection, skus: &[Sku]) -> Result<Vec<Stock>> {
    let mut levels = Vec::with_capacity(skus.len());
    for sku in skus {
        let available = sqlx::query_scalar("SELECT allotted - sold FROM trade_product WHERE sku = ? AND listed = 1")
            .bind(sku.as_str())
            .fetch_optional(&mut *conn)
            .await?;
        levels.push(Stock { sku: sku.clone(), available: available.unwrap_or(0) });
    }
    Ok(levels)
}

/// Applies a batch of the catalogue's stream and its position. Units sold stay sold: an allotment below them becomes
/// what was sold, and a product that left the catalogue keeps its row.
///
/// # Errors
/// If the batch does not fit where the products stand, or with a failure of the database.
pub async fn apply(tx: &mut Tx, batch: &Batch<Offer>) -> Result<()> {
    POSITION.advance(tx, batch).await?;
    if batch.replace {
        sqlx::query("UPDATE trade_product SET listed = 0, allotted = sold").execute(tx.conn()).await?;
    }
    for offer in &batch.items {
        sqlx::query(
            "INSERT INTO trade_product (sku, currency, unit_price_minor, version, listed, allotted)
             VALUES (?, ?, ?, ?, 1, ?)
             ON CONFLICT (sku) DO UPDATE SET currency = excluded.currency, unit_price_minor = excluded.unit_price_minor,
               version = excluded.version, listed = 1, allotted = max(excluded.allotted, sold)",
        )
        .bind(offer.sku.as_str())
        .bind(offer.unit_price.currency().code())
        .bind(offer.unit_price.minor_units())
        .bind(stored("version", i64::try_from(offer.version))?)
        .bind(offer.allotted)
        .execute(tx.conn())
        .await?;
    }
    Ok(())
}
