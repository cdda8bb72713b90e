//! The statements of an order in a bare sqlx loop: what a careful beginner writes, with one connection for writes.

use super::Place;
use crate::trade_db::TradeDb;
use sqlx::{
    Connection as _, Row as _, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};
use std::{path::Path, sync::Arc};
use tokio::sync::Mutex;

/// One connection and the users.
#[derive(Clone)]
pub struct Bare {
    connection: Arc<Mutex<SqliteConnection>>,
    users: Arc<Vec<Vec<u8>>>,
}

impl Bare {
    /// Opens the database beside the one that made it, which stays open but idle.
    pub async fn open(made: &TradeDb, path: &Path) -> anyhow::Result<Self> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .statement_cache_capacity(256);
        let connection = SqliteConnection::connect_with(&options).await?;
        let users = made.users.iter().map(|user| user.as_bytes().to_vec()).collect();
        Ok(Self { connection: Arc::new(Mutex::new(connection)), users: Arc::new(users) })
    }
}

impl Place for Bare {
    async fn place(&self, _: usize, n: usize) -> anyhow::Result<()> {
        let user: &[u8] = &self.users[n % self.users.len()];
        let (order, payment, sku) = (trade::domain::new_id(0), trade::domain::new_id(0), format!("sku-{}", n % 10));
        let (request, hash, now) = (format!("r-{n}"), [7u8; 32], 1_700_000_000_000_i64);
        let bucket = i64::from(cell_map::BucketId::of_bytes(user).get());
        let mut connection = self.connection.lock().await;
        let db = &mut *connection;
        sqlx::query("BEGIN IMMEDIATE").execute(&mut *db).await?;
        let fence = sqlx::query(
            "SELECT b.state, b.bucket_epoch, b.to_cell, b.move_id, b.attempt, u.state, u.cell, u.user_epoch, u.move_id, u.attempt, a.cell, a.user_epoch, p.position
             FROM cell_bucket AS b LEFT JOIN cell_user AS u ON u.user_key = ?1 LEFT JOIN away AS a ON a.user_key = ?1
             LEFT JOIN user_position AS p ON p.user_key = ?1
             WHERE b.bucket = ?2",
        );
        let home = fence.bind(user).bind(bucket).fetch_one(&mut *db).await?;
        anyhow::ensure!(home.try_get::<String, _>(0)? != "gone", "not at home");
        let seen = "SELECT body_hash, response FROM idempotency WHERE user_key = ? AND method = ? AND request_id = ?";
        let seen = sqlx::query(seen).bind(user).bind("lab").bind(&request).fetch_optional(&mut *db).await?;
        anyhow::ensure!(seen.is_none(), "used twice");
        sqlx::query("UPDATE trade_product SET sold = sold + ?2 WHERE sku = ?1 AND listed = 1 AND allotted - sold >= ?2 RETURNING currency, unit_price_minor")
            .bind(&sku)
            .bind(1)
            .fetch_one(&mut *db)
            .await?;
        sqlx::query("SELECT sequence FROM trade_campaign_position WHERE id = 1").fetch_one(&mut *db).await?;
        let skus = format!("[\"{sku}\"]");
        sqlx::query(trade::store::OF_PRODUCTS).bind(skus).bind(now).fetch_all(&mut *db).await?;
        sqlx::query(trade::store::OF_SPENDING).bind(now).fetch_all(&mut *db).await?;
        sqlx::query(
            "INSERT INTO user_position (user_key, position) VALUES (?, 1)
             ON CONFLICT (user_key) DO UPDATE SET position = user_position.position + 1 RETURNING position",
        )
        .bind(user)
        .fetch_one(&mut *db)
        .await?;
        sqlx::query("UPDATE trade_wallet SET balance_minor = balance_minor - ?3 WHERE user_key = ?1 AND currency = ?2 AND balance_minor >= ?3")
            .bind(user)
            .bind("CNY")
            .bind(100)
            .execute(&mut *db)
            .await?;
        sqlx::query(
            "INSERT INTO trade_posting (user_key, entry_id, account, currency, amount_minor, kind, create_time_ms)
             VALUES (?, ?, ?, ?, ?, ?, ?), (?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(user)
        .bind(&payment)
        .bind("wallet")
        .bind("CNY")
        .bind(-100)
        .bind("order")
        .bind(now)
        .bind(user)
        .bind(&payment)
        .bind("sales")
        .bind("CNY")
        .bind(100)
        .bind("order")
        .bind(now)
        .execute(&mut *db)
        .await?;
        sqlx::query(
            "INSERT INTO trade_order (user_key, order_id, state, currency, total_minor, payment_id, create_time_ms)
             VALUES (?, ?, 'paid', ?, ?, ?, ?)",
        )
        .bind(user)
        .bind(&order)
        .bind("CNY")
        .bind(100)
        .bind(&payment)
        .bind(now)
        .execute(&mut *db)
        .await?;
        sqlx::query(
            "INSERT INTO trade_order_line (user_key, order_id, line, sku, quantity, unit_price_minor, total_minor)
             VALUES (?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(user)
        .bind(&order)
        .bind(0)
        .bind(&sku)
        .bind(1)
        .bind(100)
        .bind(100)
        .execute(&mut *db)
        .await?;
        sqlx::query(
            "INSERT INTO trade_payment (user_key, payment_id, order_id, currency, amount_minor, create_time_ms)
             VALUES (?, ?, ?, ?, ?, ?)",
        )
        .bind(user)
        .bind(&payment)
        .bind(&order)
        .bind("CNY")
        .bind(100)
        .bind(now)
        .execute(&mut *db)
        .await?;
        sqlx::query(
            "INSERT INTO outbox (stream, user_key, user_epoch, sequence, event_id, kind, payload, traceparent, created_ms)
             SELECT 'events', ?1, 0, COALESCE((SELECT MAX(e.sequence) FROM outbox AS e WHERE e.stream = 'events' AND e.user_key = ?1 AND e.user_epoch = 0), 0) + 1,
                    ?2, 'order.placed', ?3, NULL, ?4",
        )
        .bind(user)
        .bind(&payment)
        .bind(&[7u8; 180][..])
        .bind(now)
        .execute(&mut *db)
        .await?;
        sqlx::query(
            "INSERT INTO idempotency (user_key, method, request_id, body_hash, response, expires_ms) VALUES (?, ?, ?, ?, ?, ?)",
        )
        .bind(user)
        .bind("lab")
        .bind(&request)
        .bind(&hash[..])
        .bind(&[7u8; 180][..])
        .bind(now)
        .execute(&mut *db)
        .await?;
        sqlx::query("COMMIT").execute(&mut *db).await?;
        Ok(())
    }
}
