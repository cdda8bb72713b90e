//! Writing products: in the global cell as their author, elsewhere as a copy.

use super::{POSITION, Result, no, read, stored};
use crate::{Error, domain::Product};
use sqlx::SqliteConnection;
use storage::Tx;

/// Writes a new product and returns it with its version.
///
/// # Errors
/// If it exists already, or with a failure of the database.
pub async fn create(tx: &mut Tx, product: &Product) -> Result<Product> {
    if !read::find(tx.conn(), std::slice::from_ref(&product.sku)).await?.is_empty() {
        return no(Error::AlreadyExists(product.sku.clone()));
    }
    let position = POSITION.next(tx).await?;
    let product = Product { version: position.sequence, ..product.clone() };
    put(tx.conn(), &product).await?;
    Ok(product)
}

/// Changes a product's title and price and returns it as it is then.
///
/// # Errors
/// If it does not exist, or with a failure of the database.
pub async fn update(tx: &mut Tx, product: &Product) -> Result<Product> {
    let found = read::find(tx.conn(), std::slice::from_ref(&product.sku)).await?.remove(&product.sku);
    let Some(Product { allotments, .. }) = found else { return no(Error::NotFound(product.sku.clone())) };
    let position = POSITION.next(tx).await?;
    let product = Product { version: position.sequence, allotments, ..product.clone() };
    put(tx.conn(), &product).await?;
    Ok(product)
}

/// Removes all products.
///
/// # Errors
/// With a failure of the database.
pub async fn clear(conn: &mut SqliteConnection) -> Result<()> {
    sqlx::query("DELETE FROM catalog_product").execute(&mut *conn).await?;
    sqlx::query("DELETE FROM catalog_allotment").execute(conn).await?;
    Ok(())
}

/// Writes a product as it is, in the place of what was there.
///
/// # Errors
/// With a failure of the database.
pub async fn put(conn: &mut SqliteConnection, product: &Product) -> Result<()> {
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
