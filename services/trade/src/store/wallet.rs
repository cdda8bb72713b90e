//! Wallets and the ledger.

use super::{Result, no, stored};
use crate::{
    Error, WALLET_CURRENCY, WALLET_MAX,
    domain::{Entry, Posting},
};
use cell_map::UserKey;
use shop_logic::Money;
use sqlx::SqliteConnection;

/// What is in a user's wallet; nothing if it was never filled.
///
/// # Errors
/// With a failure of the database.
pub async fn balance(conn: &mut SqliteConnection, user: &UserKey) -> Result<Money> {
    let balance = sqlx::query_scalar("SELECT balance_minor FROM trade_wallet WHERE user_key = ? AND currency = ?")
        .bind(user.as_bytes())
        .bind(WALLET_CURRENCY.code())
        .fetch_optional(conn)
        .await?;
    Ok(Money::new(WALLET_CURRENCY, balance.unwrap_or(0)))
}

/// Puts money into a wallet and returns what is in it then. The amount is positive and in the wallets' currency.
///
/// # Errors
/// If the wallet would hold too much, or with a failure of the database.
pub async fn top_up(
    conn: &mut SqliteConnection,
    user: &UserKey,
    entry_id: String,
    amount: Money,
    now_ms: i64,
) -> Result<Money> {
    let balance = sqlx::query_scalar(
        "INSERT INTO trade_wallet (user_key, currency, balance_minor) VALUES (?1, ?2, ?3)
         ON CONFLICT (user_key, currency) DO UPDATE SET balance_minor = balance_minor + ?3
           WHERE balance_minor <= ?4 - ?3
         RETURNING balance_minor",
    )
    .bind(user.as_bytes())
    .bind(amount.currency().code())
    .bind(amount.minor_units())
    .bind(WALLET_MAX)
    .fetch_optional(&mut *conn)
    .await?;
    let Some(balance) = balance else {
        return no(Error::WalletFull { max: Money::new(WALLET_CURRENCY, WALLET_MAX) });
    };
    let entry = stored("amount", Entry::top_up(entry_id, amount))?;
    post(conn, user, &entry, now_ms).await?;
    Ok(Money::new(amount.currency(), balance))
}

/// Takes money from a wallet that holds enough.
pub(super) async fn debit(conn: &mut SqliteConnection, user: &UserKey, amount: Money) -> Result<()> {
    let debited = sqlx::query(
        "UPDATE trade_wallet SET balance_minor = balance_minor - ?3
         WHERE user_key = ?1 AND currency = ?2 AND balance_minor >= ?3",
    )
    .bind(user.as_bytes())
    .bind(amount.currency().code())
    .bind(amount.minor_units())
    .execute(conn)
    .await?;
    if debited.rows_affected() == 1 { Ok(()) } else { no(Error::InsufficientFunds { needed: amount }) }
}

/// Writes both sides of an entry.
pub(super) async fn post(conn: &mut SqliteConnection, user: &UserKey, entry: &Entry, now_ms: i64) -> Result<()> {
    let [from, to]: &[Posting; 2] = entry.postings();
    sqlx::query(
        "INSERT INTO trade_posting (user_key, entry_id, kind, create_time_ms, currency, account, amount_minor)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7), (?1, ?2, ?3, ?4, ?5, ?8, ?9)",
    )
    .bind(user.as_bytes())
    .bind(entry.id())
    .bind(entry.kind().as_str())
    .bind(now_ms)
    .bind(from.amount.currency().code())
    .bind(from.account.as_str())
    .bind(from.amount.minor_units())
    .bind(to.account.as_str())
    .bind(to.amount.minor_units())
    .execute(conn)
    .await?;
    Ok(())
}
