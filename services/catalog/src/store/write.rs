//! Writing products: in the global cell as their author, elsewhere as a copy.

use super::{Result, no, read, stored};
use crate::{Error, domain::Product};
use shop_logic::{Batch, Position};
use sqlx::SqliteConnection;

/// Where a copy of the catalogue stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Last change in it.
    pub position: Position,
    /// Whether this cell wrote it.
    pub writer: bool,
}

/// Makes this cell the catalogue's writer. A cell that was a copy so far starts a new history, later than the one it
/// followed, so that followers take a fresh snapshot of it; one that wrote already goes on.
///
/// # Errors
/// With a failure of the database.
pub async fn begin_history(conn: &mut SqliteConnection, now_ms: i64) -> Result<Position> {
    let position = match read::position(conn).await? {
        Some(Standing { position, writer: true }) => return Ok(position),
        Some(Standing { position, writer: false }) => {
            Position { incarnation: (position.incarnation + 1).max(from_clock(now_ms)), ..position }
        }
        None => Position { incarnation: from_clock(now_ms), sequence: 0 },
    };
    set_position(conn, position, true).await?;
    Ok(position)
}

/// A database that was lost and made anew starts later than the lost one did.
fn from_clock(now_ms: i64) -> u64 {
    u64::try_from(now_ms).unwrap_or(0).max(1)
}

/// Writes a new product and returns it with its version.
///
/// # Errors
/// If it exists already, or with a failure of the database.
pub async fn create(conn: &mut SqliteConnection, product: &Product, now_ms: i64) -> Result<Product> {
    if !read::find(conn, std::slice::from_ref(&product.sku)).await?.is_empty() {
        return no(Error::AlreadyExists(product.sku.clone()));
    }
    let position = next(conn, now_ms).await?;
    let product = Product { version: position.sequence, ..product.clone() };
    put(conn, &product).await?;
    Ok(product)
}

/// Changes a product's title and price and returns it as it is then.
///
/// # Errors
/// If it does not exist, or with a failure of the database.
pub async fn update(conn: &mut SqliteConnection, product: &Product, now_ms: i64) -> Result<Product> {
    let found = read::find(conn, std::slice::from_ref(&product.sku)).await?.remove(&product.sku);
    let Some(Product { allotments, .. }) = found else { return no(Error::NotFound(product.sku.clone())) };
    let position = next(conn, now_ms).await?;
    let product = Product { version: position.sequence, allotments, ..product.clone() };
    put(conn, &product).await?;
    Ok(product)
}

/// Makes this cell a copy again. What it wrote is a closed history: should it write once more, it begins a later one.
///
/// # Errors
/// With a failure of the database.
pub async fn end_history(conn: &mut SqliteConnection) -> Result<()> {
    sqlx::query("UPDATE catalog_position SET writer = 0 WHERE writer = 1").execute(conn).await?;
    Ok(())
}

/// Applies a batch of the writer's stream and its position: all of it or, by the caller's rollback, nothing.
///
/// # Errors
/// If this cell writes the catalogue now, if the batch does not fit where the copy stands, or with a failure of the
/// database.
pub async fn apply(conn: &mut SqliteConnection, batch: &Batch<Product>) -> Result<()> {
    let standing = read::position(conn).await?;
    if standing.is_some_and(|standing| standing.writer) {
        return no(Error::WrittenHere);
    }
    let standing = standing.map(|standing| standing.position).unwrap_or_default();
    if let Err(error) = batch.check(standing) {
        return no(error.into());
    }
    if batch.replace {
        sqlx::query("DELETE FROM catalog_product").execute(&mut *conn).await?;
        sqlx::query("DELETE FROM catalog_allotment").execute(&mut *conn).await?;
    }
    for product in &batch.items {
        put(conn, product).await?;
    }
    set_position(conn, batch.position, false).await
}

/// The position of the next change, already taken.
async fn next(conn: &mut SqliteConnection, now_ms: i64) -> Result<Position> {
    let Position { incarnation, sequence } = begin_history(conn, now_ms).await?;
    let position = Position { incarnation, sequence: sequence + 1 };
    set_position(conn, position, true).await?;
    Ok(position)
}

async fn set_position(conn: &mut SqliteConnection, position: Position, writer: bool) -> Result<()> {
    sqlx::query(
        "INSERT INTO catalog_position (id, incarnation, sequence, writer) VALUES (1, ?, ?, ?) ON CONFLICT (id)
         DO UPDATE SET incarnation = excluded.incarnation, sequence = excluded.sequence, writer = excluded.writer",
    )
    .bind(stored("incarnation", i64::try_from(position.incarnation))?)
    .bind(stored("sequence", i64::try_from(position.sequence))?)
    .bind(writer)
    .execute(conn)
    .await?;
    Ok(())
}

async fn put(conn: &mut SqliteConnection, product: &Product) -> Result<()> {
    sqlx::query(
        "INSERT INTO catalog_product (sku, title, currency, unit_price_minor, version) VALUES (?, ?, ?, ?, ?)
         ON CONFLICT (sku) DO UPDATE SET title = excluded.title, currency = excluded.currency,
           unit_price_minor = excluded.unit_price_minor, version = excluded.version",
    )
    .bind(product.sku.as_str())
    .bind(product.title.as_str())
    .bind(product.unit_price.currency().code())
    .bind(product.unit_price.minor_units())
    .bind(stored("version", i64::try_from(product.version))?)
    .execute(&mut *conn)
    .await?;
    sqlx::query("DELETE FROM catalog_allotment WHERE sku = ?").bind(product.sku.as_str()).execute(&mut *conn).await?;
    for allotment in &product.allotments {
        sqlx::query("INSERT INTO catalog_allotment (sku, cell, quantity) VALUES (?, ?, ?)")
            .bind(product.sku.as_str())
            .bind(allotment.cell.as_str())
            .bind(allotment.quantity)
            .execute(&mut *conn)
            .await?;
    }
    Ok(())
}
