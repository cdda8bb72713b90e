//! SQL of orders: trade's statements, less those about money.

use super::super::parse::money;
use cell_map::UserKey;
use prost::Message as _;
use shop_logic::{Line, Lines, Money, PriceError, price};
use shop_proto::trade_v1::{Order, OrderState, PricedLine};
use sqlx::{QueryBuilder, Row as _, Sqlite, SqliteConnection};
use storage::{OutboxEvent, TableSpec, Tx, UserTables, WorkError};
use trade::{Error, WALLET_CURRENCY, domain::new_id};

type Result<T> = std::result::Result<T, WorkError<Error>>;

/// Tables with users' data (OWN-13).
pub(super) fn user_tables() -> UserTables {
    let tables =
        vec![TableSpec::new("split_order", &["order_id"]), TableSpec::new("split_order_line", &["order_id", "line"])];
    UserTables::new("split_order", tables)
}

/// Takes stock and writes an order that is not paid yet.
pub(super) async fn reserve(conn: &mut SqliteConnection, user: &UserKey, lines: &Lines, now_ms: i64) -> Result<Order> {
    let mut prices = take(conn, lines).await?.into_iter();
    let priced = price(lines, |_| prices.next()).map_err(|error| WorkError::Business(error.into()))?;
    let total = priced.total().minor_units();
    let order_id = new_id(now_ms);
    sqlx::query(
        "INSERT INTO split_order (user_key, order_id, state, total_minor, payment_id, create_time_ms)
         VALUES (?, ?, 'reserved', ?, '', ?)",
    )
    .bind(user.as_bytes())
    .bind(&order_id)
    .bind(total)
    .bind(now_ms)
    .execute(&mut *conn)
    .await?;
    let mut rows = QueryBuilder::<Sqlite>::new(
        "INSERT INTO split_order_line (user_key, order_id, line, sku, quantity, unit_price_minor, total_minor) ",
    );
    rows.push_values(priced.lines().iter().zip(0i64..), |mut row, (line, at)| {
        row.push_bind(user.as_bytes())
            .push_bind(&order_id)
            .push_bind(at)
            .push_bind(line.sku.as_str())
            .push_bind(i64::from(line.quantity.get()))
            .push_bind(line.unit_price.minor_units())
            .push_bind(line.total.minor_units());
    });
    rows.build().execute(conn).await?;
    let line = |line: &shop_logic::PricedLine| PricedLine {
        sku: line.sku.to_string(),
        quantity: line.quantity.get().into(),
        unit_price: Some(money(line.unit_price.minor_units())),
        line_total: Some(money(line.total.minor_units())),
    };
    Ok(Order {
        order_id,
        user_id: user.to_string(),
        state: OrderState::Unspecified.into(),
        lines: priced.lines().iter().map(line).collect(),
        total: Some(money(total)),
        payment_id: String::new(),
        create_time_ms: now_ms,
        discounts: Vec::new(),
        coupon_code: String::new(),
    })
}

async fn take(conn: &mut SqliteConnection, lines: &Lines) -> Result<Vec<Money>> {
    let mut prices = vec![None; lines.as_slice().len()];
    for at in lines.by_sku() {
        let Line { sku, quantity } = &lines.as_slice()[at];
        let taken = sqlx::query_scalar(
            "UPDATE split_product SET sold = sold + ?2 WHERE sku = ?1 AND allotted - sold >= ?2
             RETURNING unit_price_minor",
        )
        .bind(sku.as_str())
        .bind(i64::from(quantity.get()))
        .fetch_optional(&mut *conn)
        .await?;
        prices[at] = taken.map(|minor| Money::new(WALLET_CURRENCY, minor));
        if prices[at].is_none() {
            let left = sqlx::query_scalar("SELECT allotted - sold FROM split_product WHERE sku = ?")
                .bind(sku.as_str())
                .fetch_optional(conn)
                .await?;
            let unknown = || PriceError::UnknownSku(sku.clone()).into();
            let why = left.map_or_else(unknown, |available| Error::SoldOutHere { sku: sku.clone(), available });
            return Err(WorkError::Business(why));
        }
    }
    Ok(prices.into_iter().flatten().collect())
}

/// Confirms an order and announces it, or cancels one that cannot be paid and gives its stock back. What is settled
/// stays as it is. The inner error says why the order is not placed; what was written of it stays written.
pub(super) async fn settle(
    tx: &mut Tx,
    user: &UserKey,
    mut order: Order,
    payment_id: String,
) -> Result<std::result::Result<Order, Error>> {
    let state = if payment_id.is_empty() { "cancelled" } else { "paid" };
    let changed = sqlx::query(
        "UPDATE split_order SET state = ?3, payment_id = ?4 WHERE user_key = ?1 AND order_id = ?2 AND state = 'reserved'",
    )
    .bind(user.as_bytes())
    .bind(&order.order_id)
    .bind(state)
    .bind(&payment_id)
    .execute(tx.conn())
    .await?;
    let changed = changed.rows_affected() > 0;
    if payment_id.is_empty() {
        for line in order.lines.iter().filter(|_| changed) {
            sqlx::query("UPDATE split_product SET sold = sold - ?2 WHERE sku = ?1")
                .bind(&line.sku)
                .bind(line.quantity)
                .execute(tx.conn())
                .await?;
        }
        let needed = order.total.map_or(0, |total| total.minor_units);
        return Ok(Err(Error::InsufficientFunds { needed: Money::new(WALLET_CURRENCY, needed) }));
    }
    (order.payment_id, order.state) = (payment_id, OrderState::Paid.into());
    if changed {
        tx.emit(OutboxEvent::new(trade::ORDER_PLACED, order.encode_to_vec())).await?;
    }
    Ok(Ok(order))
}

/// One order of a user; unpaid ones have no state that trade knows.
pub(super) async fn find(conn: &mut SqliteConnection, user: &UserKey, id: &str) -> Result<Option<Order>> {
    let row = sqlx::query(
        "SELECT state, total_minor, payment_id, create_time_ms FROM split_order WHERE user_key = ? AND order_id = ?",
    )
    .bind(user.as_bytes())
    .bind(id)
    .fetch_optional(&mut *conn)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let lines = sqlx::query(
        "SELECT sku, quantity, unit_price_minor, total_minor FROM split_order_line
         WHERE user_key = ? AND order_id = ? ORDER BY line",
    )
    .bind(user.as_bytes())
    .bind(id)
    .fetch_all(conn)
    .await?;
    let line = |row: &sqlx::sqlite::SqliteRow| {
        Ok(PricedLine {
            sku: row.try_get("sku")?,
            quantity: row.try_get("quantity")?,
            unit_price: Some(money(row.try_get("unit_price_minor")?)),
            line_total: Some(money(row.try_get("total_minor")?)),
        })
    };
    let state = if row.try_get::<&str, _>("state")? == "paid" { OrderState::Paid } else { OrderState::Unspecified };
    Ok(Some(Order {
        order_id: id.to_owned(),
        user_id: user.to_string(),
        state: state.into(),
        lines: lines.iter().map(line).collect::<sqlx::Result<_>>()?,
        total: Some(money(row.try_get("total_minor")?)),
        payment_id: row.try_get("payment_id")?,
        create_time_ms: row.try_get("create_time_ms")?,
        discounts: Vec::new(),
        coupon_code: String::new(),
    }))
}
