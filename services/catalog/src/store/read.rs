//! Reading products.

use super::{Result, stored};
use crate::domain::{Allotment, Product};
use cell_map::CellId;
use shop_logic::{Currency, Money, Sku, Title};
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};
use std::collections::HashMap;

/// Those of the given products that exist, by SKU.
///
/// # Errors
/// With a failure of the database.
pub async fn find(conn: &mut SqliteConnection, skus: &[Sku]) -> Result<HashMap<Sku, Product>> {
    let skus: Vec<&str> = skus.iter().map(Sku::as_str).collect();
    let rows = sqlx::query(
        "SELECT sku, title, currency, unit_price_minor, version FROM catalog_product
         WHERE sku IN (SELECT value FROM json_each(?))",
    )
    .bind(json(&skus))
    .fetch_all(&mut *conn)
    .await?;
    let products = with_allotments(conn, rows).await?;
    Ok(products.into_iter().map(|product| (product.sku.clone(), product)).collect())
}

/// Products by SKU, those after `after` (empty: from the first).
///
/// # Errors
/// With a failure of the database.
pub async fn list(conn: &mut SqliteConnection, after: &str, limit: i64) -> Result<Vec<Product>> {
    let rows = sqlx::query(
        "SELECT sku, title, currency, unit_price_minor, version FROM catalog_product
         WHERE sku > ? ORDER BY sku LIMIT ?",
    )
    .bind(after)
    .bind(limit)
    .fetch_all(&mut *conn)
    .await?;
    with_allotments(conn, rows).await
}

/// Products whose last change came after a sequence, in the order of their changes.
///
/// # Errors
/// With a failure of the database.
pub async fn after(conn: &mut SqliteConnection, sequence: u64, limit: i64) -> Result<Vec<Product>> {
    let rows = sqlx::query(
        "SELECT sku, title, currency, unit_price_minor, version FROM catalog_product
         WHERE version > ? ORDER BY version LIMIT ?",
    )
    .bind(i64::try_from(sequence).unwrap_or(i64::MAX))
    .bind(limit)
    .fetch_all(&mut *conn)
    .await?;
    with_allotments(conn, rows).await
}

async fn with_allotments(conn: &mut SqliteConnection, rows: Vec<SqliteRow>) -> Result<Vec<Product>> {
    let skus = rows.iter().map(|row| row.try_get("sku")).collect::<sqlx::Result<Vec<&str>>>()?;
    let shares = sqlx::query(
        "SELECT sku, cell, quantity FROM catalog_allotment
         WHERE sku IN (SELECT value FROM json_each(?)) ORDER BY sku, cell",
    )
    .bind(json(&skus))
    .fetch_all(conn)
    .await?;
    let mut shares_of: HashMap<&str, Vec<Allotment>> = HashMap::with_capacity(skus.len());
    for share in &shares {
        let cell = stored("cell", CellId::new(share.try_get("cell")?))?;
        let allotment = Allotment { cell, quantity: share.try_get("quantity")? };
        shares_of.entry(share.try_get("sku")?).or_default().push(allotment);
    }
    rows.iter()
        .zip(&skus)
        .map(|(row, sku)| {
            let currency = stored("currency", Currency::new(row.try_get("currency")?))?;
            Ok(Product {
                sku: stored("SKU", Sku::new(sku))?,
                title: stored("title", Title::new(row.try_get("title")?))?,
                unit_price: Money::new(currency, row.try_get("unit_price_minor")?),
                version: stored("version", u64::try_from(row.try_get::<i64, _>("version")?))?,
                allotments: shares_of.remove(sku).unwrap_or_default(),
            })
        })
        .collect()
}

/// A list as one parameter, so that the statement's text does not depend on its length.
fn json(skus: &[&str]) -> String {
    serde_json::to_string(skus).expect("a list of texts is always JSON")
}
