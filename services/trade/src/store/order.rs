//! Reading orders.

use super::{Result, grouped, stored};
use crate::domain::Order;
use cell_map::UserKey;
use shop_logic::{CampaignId, CouponCode, Currency, Money, OpaqueId, PricedLine, Quantity, Sku, campaign::Discount};
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};
use std::collections::HashMap;

/// Sorts after every order id.
const AFTER_ALL: &str = "~";

/// One order of a user. Another user's order is not found: the user is part of the key.
///
/// # Errors
/// With a failure of the database.
pub async fn find(conn: &mut SqliteConnection, user: &UserKey, id: &OpaqueId) -> Result<Option<Order>> {
    Ok(orders(conn, user, std::slice::from_ref(id)).await?.remove(id.as_str()))
}

/// Those of the given orders that the user has, by id.
///
/// # Errors
/// With a failure of the database.
pub async fn orders(conn: &mut SqliteConnection, user: &UserKey, ids: &[OpaqueId]) -> Result<HashMap<String, Order>> {
    const SQL: &str = "SELECT order_id, currency, total_minor, payment_id, create_time_ms, coupon_code FROM trade_order
         WHERE user_key = ? AND order_id IN (SELECT value FROM json_each(?))";
    let ids: Vec<&str> = ids.iter().map(OpaqueId::as_str).collect();
    let rows = sqlx::query(SQL).bind(user.as_bytes()).bind(json(&ids)).fetch_all(&mut *conn).await?;
    let orders = with_parts(conn, user, rows).await?;
    Ok(orders.into_iter().map(|order| (order.id.clone(), order)).collect())
}

/// A user's newest orders older than `before` (an order's id; `None`: the newest of all), newest first.
///
/// # Errors
/// With a failure of the database.
pub async fn list(conn: &mut SqliteConnection, user: &UserKey, before: Option<&str>, limit: i64) -> Result<Vec<Order>> {
    const SQL: &str = "SELECT order_id, currency, total_minor, payment_id, create_time_ms, coupon_code FROM trade_order
         WHERE user_key = ?1 AND order_id < ?2 ORDER BY order_id DESC LIMIT ?3";
    let rows = sqlx::query(SQL)
        .bind(user.as_bytes())
        .bind(before.unwrap_or(AFTER_ALL))
        .bind(limit)
        .fetch_all(&mut *conn)
        .await?;
    with_parts(conn, user, rows).await
}

async fn with_parts(conn: &mut SqliteConnection, user: &UserKey, rows: Vec<SqliteRow>) -> Result<Vec<Order>> {
    let ids = rows.iter().map(|row| row.try_get("order_id")).collect::<sqlx::Result<Vec<&str>>>()?;
    let lines = sqlx::query(
        "SELECT order_id, sku, quantity, unit_price_minor, total_minor FROM trade_order_line
         WHERE user_key = ? AND order_id IN (SELECT value FROM json_each(?)) ORDER BY order_id, line",
    )
    .bind(user.as_bytes())
    .bind(json(&ids))
    .fetch_all(&mut *conn)
    .await?;
    let discounts = sqlx::query(
        "SELECT order_id, campaign_id, sku, amount_minor FROM trade_order_discount
         WHERE user_key = ? AND order_id IN (SELECT value FROM json_each(?)) ORDER BY order_id, place",
    )
    .bind(user.as_bytes())
    .bind(json(&ids))
    .fetch_all(conn)
    .await?;
    let (mut lines_of, mut discounts_of) = (grouped(&lines, "order_id")?, grouped(&discounts, "order_id")?);
    rows.iter()
        .zip(&ids)
        .map(|(row, id)| {
            let currency = stored("currency", Currency::new(row.try_get("currency")?))?;
            let lines = lines_of.remove(id).unwrap_or_default();
            let discounts = discounts_of.remove(id).unwrap_or_default();
            let coupon: Option<&str> = row.try_get("coupon_code")?;
            Ok(Order {
                id: (*id).to_owned(),
                user: user.clone(),
                lines: lines.into_iter().map(|line| priced_line(line, currency)).collect::<Result<_>>()?,
                discounts: discounts.into_iter().map(|row| discount(row, currency)).collect::<Result<_>>()?,
                coupon: coupon.map(|code| stored("code", CouponCode::new(code))).transpose()?,
                total: Money::new(currency, row.try_get("total_minor")?),
                payment_id: row.try_get("payment_id")?,
                create_time_ms: row.try_get("create_time_ms")?,
            })
        })
        .collect()
}

fn discount(row: &SqliteRow, currency: Currency) -> Result<Discount> {
    let sku: Option<&str> = row.try_get("sku")?;
    Ok(Discount {
        campaign: stored("campaign", CampaignId::new(row.try_get("campaign_id")?))?,
        sku: sku.map(|sku| stored("SKU", Sku::new(sku))).transpose()?,
        amount: Money::new(currency, row.try_get("amount_minor")?),
    })
}

fn priced_line(row: &SqliteRow, currency: Currency) -> Result<PricedLine> {
    Ok(PricedLine {
        sku: stored("SKU", Sku::new(row.try_get("sku")?))?,
        quantity: stored("quantity", Quantity::new(row.try_get("quantity")?))?,
        unit_price: Money::new(currency, row.try_get("unit_price_minor")?),
        total: Money::new(currency, row.try_get("total_minor")?),
    })
}

/// A list as one parameter, so that the statement's text does not depend on its length.
fn json(ids: &[&str]) -> String {
    serde_json::to_string(ids).expect("a list of texts is always JSON")
}
