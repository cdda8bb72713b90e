//! Placing an order: the one transaction that moves stock and money.

use super::{Result, no, product, quote::Discounts, redemption, wallet};
use crate::{
    Error, WALLET_CURRENCY,
    domain::{Basis, Entry, Order, Placing},
    event,
};
use shop_logic::{CouponCode, Sku, campaign::Quote};
use sqlx::{QueryBuilder, Sqlite, SqliteConnection};
use storage::Tx;

/// Takes stock, redeems the coupon, debits the wallet, writes ledger, order, lines, discounts and payment, and announces the
/// order. All of it or, by the caller's rollback, nothing. For a transaction that holds the user's fence.
///
/// # Errors
/// With the rule that forbids the order, or a failure of the database.
pub async fn place_order(tx: &mut Tx, placing: &Placing) -> Result<Order> {
    let quote = quote(tx, placing).await?;
    let position = tx.position().await?;
    let order = write_order(tx.conn(), placing, &quote, position).await?;
    tx.emit(event::order_placed(&order)).await?;
    Ok(order)
}

async fn write_order(conn: &mut SqliteConnection, placing: &Placing, quote: &Quote, position: u64) -> Result<Order> {
    match quote.coupon() {
        Some(Ok(used)) => redemption::redeem(conn, &placing.user, used, position).await?,
        Some(Err(refusal)) => return no(refusal.into()),
        None => {}
    }
    let total = quote.total();
    if total.currency() != WALLET_CURRENCY {
        return no(Error::Currency { order: total.currency().code(), wallet: WALLET_CURRENCY.code() });
    }
    let order = Order {
        id: placing.order_id.clone(),
        user: placing.user.clone(),
        lines: quote.lines().to_vec(),
        discounts: quote.discounts().to_vec(),
        coupon: placing.coupon.clone(),
        total,
        payment_id: placing.payment_id.clone(),
        create_time_ms: placing.now_ms,
    };
    wallet::debit(conn, &order.user, total).await?;
    let entry = Entry::order(order.payment_id.clone(), total).or(no(Error::Stored { what: "price" }))?;
    wallet::post(conn, &order.user, &entry, order.create_time_ms).await?;
    insert(conn, &order).await?;
    Ok(order)
}

/// Takes stock; what the order costs.
async fn quote(tx: &mut Tx, placing: &Placing) -> Result<Quote> {
    let Placing { user, lines, coupon, basis, now_ms, .. } = placing;
    let present = product::take(tx.conn(), lines).await?;
    match basis {
        Basis::Previewed(Ok(held)) => Ok(held.clone()),
        Basis::Previewed(Err(refused)) => no(refused.clone().into()),
        Basis::Present => {
            let (discounts, _) = Discounts::read(tx, Some(user), lines, coupon.as_ref(), *now_ms).await?;
            let mut present = present.into_iter();
            discounts.quote(lines, |_| present.next(), coupon.as_ref(), *now_ms).or_else(|error| no(error.into()))
        }
    }
}

async fn insert(conn: &mut SqliteConnection, order: &Order) -> Result<()> {
    let (user, currency) = (order.user.as_bytes(), order.total.currency().code());
    sqlx::query(
        "INSERT INTO trade_order (user_key, order_id, state, currency, total_minor, payment_id, create_time_ms, coupon_code)
         VALUES (?, ?, 'paid', ?, ?, ?, ?, ?)",
    )
    .bind(user)
    .bind(&order.id)
    .bind(currency)
    .bind(order.total.minor_units())
    .bind(&order.payment_id)
    .bind(order.create_time_ms)
    .bind(order.coupon.as_ref().map(CouponCode::as_str))
    .execute(&mut *conn)
    .await?;
    // At most 50 texts, one for each number of lines: all of them stay prepared.
    let mut lines = QueryBuilder::<Sqlite>::new(
        "INSERT INTO trade_order_line (user_key, order_id, line, sku, quantity, unit_price_minor, total_minor) ",
    );
    lines.push_values(order.lines.iter().zip(0i64..), |mut row, (line, at)| {
        row.push_bind(user)
            .push_bind(&order.id)
            .push_bind(at)
            .push_bind(line.sku.as_str())
            .push_bind(i64::from(line.quantity.get()))
            .push_bind(line.unit_price.minor_units())
            .push_bind(line.total.minor_units());
    });
    lines.build().execute(&mut *conn).await?;
    insert_discounts(conn, order).await?;
    sqlx::query(
        "INSERT INTO trade_payment (user_key, payment_id, order_id, currency, amount_minor, create_time_ms)
         VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(user)
    .bind(&order.payment_id)
    .bind(&order.id)
    .bind(currency)
    .bind(order.total.minor_units())
    .bind(order.create_time_ms)
    .execute(conn)
    .await?;
    Ok(())
}

async fn insert_discounts(conn: &mut SqliteConnection, order: &Order) -> Result<()> {
    if order.discounts.is_empty() {
        return Ok(());
    }
    let mut discounts = QueryBuilder::<Sqlite>::new(
        "INSERT INTO trade_order_discount (user_key, order_id, place, campaign_id, sku, amount_minor) ",
    );
    discounts.push_values(order.discounts.iter().zip(0i64..), |mut row, (discount, place)| {
        row.push_bind(order.user.as_bytes())
            .push_bind(&order.id)
            .push_bind(place)
            .push_bind(discount.campaign.as_str())
            .push_bind(discount.sku.as_ref().map(Sku::as_str))
            .push_bind(discount.amount.minor_units());
    });
    discounts.build().execute(conn).await?;
    Ok(())
}
