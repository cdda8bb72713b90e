//! Reads a cell's database with SQL of its own and says what is wrong with it.

use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use std::path::Path;

/// What must find nothing.
const FAULTS: &[(&str, &str)] = &[
    (
        "a ledger entry that does not sum to zero",
        "SELECT entry_id FROM trade_posting GROUP BY user_key, entry_id, currency HAVING SUM(amount_minor) <> 0",
    ),
    (
        "a ledger entry without two sides",
        "SELECT entry_id FROM trade_posting GROUP BY user_key, entry_id HAVING COUNT(*) <> 2",
    ),
    (
        "a wallet that is not the sum of its postings",
        "SELECT w.user_key FROM trade_wallet w WHERE w.balance_minor <> (SELECT COALESCE(SUM(p.amount_minor), 0)
           FROM trade_posting p WHERE p.user_key = w.user_key AND p.currency = w.currency AND p.account = 'wallet')",
    ),
    (
        "wallet postings without a wallet",
        "SELECT p.user_key FROM trade_posting p WHERE p.account = 'wallet' AND NOT EXISTS
           (SELECT 1 FROM trade_wallet w WHERE w.user_key = p.user_key AND w.currency = p.currency)",
    ),
    (
        "an order without its payment",
        "SELECT o.order_id FROM trade_order o LEFT JOIN trade_payment p USING (user_key, payment_id)
         WHERE p.order_id IS NOT o.order_id OR p.amount_minor <> o.total_minor",
    ),
    (
        "a payment without its order",
        "SELECT p.payment_id FROM trade_payment p LEFT JOIN trade_order o USING (user_key, order_id)
         WHERE o.payment_id IS NOT p.payment_id",
    ),
    (
        "a payment that is not in the ledger",
        "SELECT p.payment_id FROM trade_payment p LEFT JOIN trade_posting s
           ON s.user_key = p.user_key AND s.entry_id = p.payment_id AND s.account = 'sales'
         WHERE s.amount_minor IS NOT p.amount_minor",
    ),
    (
        "an order whose lines less its discounts are not its total",
        "SELECT o.order_id FROM trade_order o WHERE o.total_minor <> (SELECT COALESCE(SUM(l.total_minor), 0)
           FROM trade_order_line l WHERE l.user_key = o.user_key AND l.order_id = o.order_id)
         - (SELECT COALESCE(SUM(d.amount_minor), 0)
           FROM trade_order_discount d WHERE d.user_key = o.user_key AND d.order_id = o.order_id)",
    ),
    (
        "discounts without their order",
        "SELECT order_id FROM trade_order_discount EXCEPT SELECT order_id FROM trade_order",
    ),
    (
        "redemptions that are not the orders with the coupon",
        "SELECT r.campaign_id FROM trade_redemption r WHERE r.redeemed <> (SELECT COUNT(*) FROM trade_order_discount d
           JOIN trade_order o USING (user_key, order_id)
           WHERE d.user_key = r.user_key AND d.campaign_id = r.campaign_id AND o.coupon_code IS NOT NULL)",
    ),
    (
        "an order with a coupon that is not redeemed",
        "SELECT o.order_id FROM trade_order o WHERE o.coupon_code IS NOT NULL AND NOT EXISTS
           (SELECT 1 FROM trade_order_discount d JOIN trade_redemption r USING (user_key, campaign_id)
            WHERE d.user_key = o.user_key AND d.order_id = o.order_id)",
    ),
    (
        "stock moved without an order, or an order without stock",
        "SELECT t.sku FROM trade_product t WHERE t.sold <> (SELECT COALESCE(SUM(l.quantity), 0)
           FROM trade_order_line l WHERE l.sku = t.sku)",
    ),
    ("more sold than allotted", "SELECT sku FROM trade_product WHERE sold > allotted OR sold < 0"),
    (
        "orders without their event, or events without their order",
        "SELECT 1 WHERE (SELECT COUNT(*) FROM trade_order) <> (SELECT COUNT(*) FROM outbox WHERE kind = 'order.placed')",
    ),
];

async fn open(database: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(database).read_only(true);
    SqliteConnection::connect_with(&options).await.expect("the database opens")
}

/// Asserts that the database is sound.
pub async fn assert_sound(database: &Path) {
    let mut connection = open(database).await;
    for (what, sql) in FAULTS {
        let found = sqlx::query(sqlx::AssertSqlSafe(*sql)).fetch_all(&mut connection).await.expect("the query runs");
        assert!(found.is_empty(), "{}× {what}", found.len());
    }
}

/// One number.
pub async fn number(database: &Path, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(&mut open(database).await).await.expect("the query runs")
}
