//! Reads the cells' databases after the fact and says what is wrong with them. It shares no code with trade or storage:
//! plain SQL over their tables, and the promises of `ownership.md` and issue 1 written out once more.

use anyhow::Context as _;
use sqlx::{Connection as _, Row as _, SqliteConnection, sqlite::SqliteConnectOptions};
use std::{collections::BTreeMap, path::Path};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// What the clients know: the request ids they repeated until the outcome was known.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// (user, request id) → order id of the acknowledged order.
    pub placed: BTreeMap<(String, String), String>,
    /// (user, request id) whose outcome stayed unknown or was a refusal: at most one order may exist.
    pub unknown: u64,
    /// User → sum of acknowledged top-ups in minor units.
    pub topped_up: BTreeMap<String, i64>,
}

/// What the databases hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Orders.
    pub orders: u64,
    /// Payments.
    pub payments: u64,
    /// Ledger entries.
    pub entries: u64,
    /// `order.placed` events.
    pub events: u64,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// How much was looked at.
    pub counts: Counts,
    /// Every broken promise.
    pub violations: Vec<String>,
}

/// A promise as a query that returns a row for each time it is broken.
const PROMISES: &[(&str, &str)] = &[
    (
        "an order without exactly one payment of its total",
        "SELECT o.order_id FROM trade_order o
         LEFT JOIN trade_payment p ON p.user_key = o.user_key AND p.order_id = o.order_id
         GROUP BY o.user_key, o.order_id
         HAVING COUNT(p.payment_id) <> 1 OR MAX(p.amount_minor) <> MAX(o.total_minor) OR MAX(p.payment_id) <> MAX(o.payment_id)",
    ),
    (
        "a payment without an order",
        "SELECT p.payment_id FROM trade_payment p
         WHERE NOT EXISTS (SELECT 1 FROM trade_order o WHERE o.user_key = p.user_key AND o.order_id = p.order_id)",
    ),
    (
        "an order whose lines less its discounts do not make its total",
        "SELECT o.order_id FROM trade_order o
         LEFT JOIN trade_order_line l ON l.user_key = o.user_key AND l.order_id = o.order_id
         GROUP BY o.user_key, o.order_id HAVING COALESCE(SUM(l.total_minor), -1) <> MAX(o.total_minor) +
         COALESCE((SELECT SUM(d.amount_minor) FROM trade_order_discount d
                   WHERE d.user_key = o.user_key AND d.order_id = o.order_id), 0)",
    ),
    (
        "a coupon redeemed without an order, or used without being redeemed",
        "SELECT hex(o.user_key) FROM trade_order o WHERE o.coupon_code IS NOT NULL
         GROUP BY o.user_key HAVING COUNT(*) <>
         COALESCE((SELECT SUM(r.redeemed) FROM trade_redemption r WHERE r.user_key = o.user_key), 0)
         UNION ALL SELECT hex(r.user_key) FROM trade_redemption r WHERE NOT EXISTS
         (SELECT 1 FROM trade_order o WHERE o.user_key = r.user_key AND o.coupon_code IS NOT NULL)",
    ),
    (
        "a ledger entry that is not zero-sum",
        "SELECT entry_id FROM trade_posting GROUP BY user_key, entry_id, currency HAVING SUM(amount_minor) <> 0",
    ),
    (
        "a payment that the ledger does not show",
        "SELECT p.payment_id FROM trade_payment p
         LEFT JOIN trade_posting d ON d.user_key = p.user_key AND d.entry_id = p.payment_id AND d.account = 'wallet'
         WHERE d.amount_minor IS NULL OR d.amount_minor <> -p.amount_minor",
    ),
    (
        "an order entry in the ledger without a payment",
        "SELECT d.entry_id FROM trade_posting d WHERE d.kind = 'order'
         AND NOT EXISTS (SELECT 1 FROM trade_payment p WHERE p.user_key = d.user_key AND p.payment_id = d.entry_id)",
    ),
    (
        "a wallet that is not the sum of its postings",
        "SELECT hex(w.user_key) FROM trade_wallet w WHERE w.balance_minor <>
         COALESCE((SELECT SUM(d.amount_minor) FROM trade_posting d
                   WHERE d.user_key = w.user_key AND d.currency = w.currency AND d.account = 'wallet'), 0)",
    ),
    (
        "stock sold that no order holds, or the other way round",
        "SELECT s.sku FROM trade_product s WHERE s.sold <>
         COALESCE((SELECT SUM(l.quantity) FROM trade_order_line l WHERE l.sku = s.sku), 0)",
    ),
    ("stock oversold", "SELECT sku FROM trade_product WHERE sold > allotted"),
    (
        "an order without exactly one event",
        "SELECT o.order_id FROM trade_order o WHERE 1 <>
         (SELECT COUNT(*) FROM outbox e WHERE e.stream = 'events' AND e.kind = 'order.placed' AND e.user_key = o.user_key
          AND instr(e.payload, CAST(o.order_id AS BLOB)) > 0)",
    ),
    (
        "an event without an order",
        "SELECT e.event_id FROM outbox e WHERE e.stream = 'events' AND e.kind = 'order.placed' AND NOT EXISTS
         (SELECT 1 FROM trade_order o WHERE o.user_key = e.user_key AND instr(e.payload, CAST(o.order_id AS BLOB)) > 0)",
    ),
];

/// The bucket of a key, computed anew from the design: top 16 bits of XXH3-64 seeded with ASCII `cellmesh`.
fn bucket(key: &[u8]) -> i64 {
    (xxh3_64_with_seed(key, u64::from_be_bytes(*b"cellmesh")) >> 48) as i64
}

/// Checks the databases of all cells against each other and against what clients know.
///
/// # Errors
/// If a database cannot be read.
pub async fn check(databases: &[&Path], history: &History) -> anyhow::Result<Verdict> {
    let mut verdict = Verdict::default();
    let mut homes: BTreeMap<Vec<u8>, String> = BTreeMap::new();
    let mut found: BTreeMap<(String, String), u64> = BTreeMap::new();
    let mut topped_up: BTreeMap<String, i64> = BTreeMap::new();
    for path in databases {
        let name = path.display();
        let options = SqliteConnectOptions::new().filename(path).read_only(true);
        let mut db = SqliteConnection::connect_with(&options).await.with_context(|| format!("opening {name}"))?;
        for (promise, sql) in PROMISES {
            for row in sqlx::query(*sql).fetch_all(&mut db).await.with_context(|| (*promise).to_owned())? {
                verdict.violations.push(format!("{name}: {promise}: {}", row.try_get::<String, _>(0)?));
            }
        }
        let mut count = async |sql: &'static str| -> anyhow::Result<u64> {
            Ok(sqlx::query_scalar::<_, i64>(sql).fetch_one(&mut db).await?.try_into()?)
        };
        verdict.counts.orders += count("SELECT COUNT(*) FROM trade_order").await?;
        verdict.counts.payments += count("SELECT COUNT(*) FROM trade_payment").await?;
        verdict.counts.entries += count("SELECT COUNT(DISTINCT entry_id) FROM trade_posting").await?;
        verdict.counts.events += count("SELECT COUNT(*) FROM outbox WHERE kind = 'order.placed'").await?;

        let owners = "SELECT user_key FROM trade_order UNION SELECT user_key FROM trade_wallet UNION SELECT user_key FROM trade_posting";
        for row in sqlx::query(owners).fetch_all(&mut db).await? {
            let key: Vec<u8> = row.try_get(0)?;
            if !at_home(&mut db, &key).await? {
                verdict.violations.push(format!("{name}: data of {} who is not at home", key.escape_ascii()));
            } else if let Some(other) = homes.insert(key.clone(), name.to_string()) {
                verdict.violations.push(format!("{} is at home in {other} and in {name}", key.escape_ascii()));
            }
        }
        for row in sqlx::query("SELECT user_key, order_id FROM trade_order").fetch_all(&mut db).await? {
            let user = String::from_utf8(row.try_get(0)?)?;
            *found.entry((user, row.try_get(1)?)).or_default() += 1;
        }
        let sums = "SELECT user_key, SUM(amount_minor) FROM trade_posting WHERE kind = 'top_up' AND account = 'wallet' GROUP BY user_key";
        for row in sqlx::query(sums).fetch_all(&mut db).await? {
            *topped_up.entry(String::from_utf8(row.try_get(0)?)?).or_default() += row.try_get::<i64, _>(1)?;
        }
    }
    against(history, &found, &topped_up, &mut verdict);
    Ok(verdict)
}

/// Compares what clients were told with what is there.
fn against(
    history: &History,
    found: &BTreeMap<(String, String), u64>,
    topped_up: &BTreeMap<String, i64>,
    verdict: &mut Verdict,
) {
    let mut acknowledged: BTreeMap<(String, String), &str> = BTreeMap::new();
    for ((user, request), order) in &history.placed {
        let key = (user.clone(), order.clone());
        if let Some(other) = acknowledged.insert(key.clone(), request) {
            verdict.violations.push(format!("order {order} of {user} answers both {request} and {other}"));
        }
        if !found.contains_key(&key) {
            verdict.violations.push(format!("acknowledged order {order} of {user} is lost"));
        }
    }
    let extra = found.keys().filter(|key| !acknowledged.contains_key(*key)).count() as u64;
    if extra > history.unknown {
        verdict.violations.push(format!(
            "{extra} orders are there that no client was told of, but only {} calls ended unknown: orders were doubled",
            history.unknown
        ));
    }
    for (user, sum) in &history.topped_up {
        let there = topped_up.get(user).copied().unwrap_or(0);
        if there != *sum {
            verdict.violations.push(format!("{user} topped up {sum}, the ledger says {there}"));
        }
    }
}

/// Whether this database says that the user is at home in it.
async fn at_home(db: &mut SqliteConnection, key: &[u8]) -> anyhow::Result<bool> {
    let user: Option<(String, i64)> = sqlx::query_as("SELECT state, user_epoch FROM cell_user WHERE user_key = ?")
        .bind(key)
        .fetch_optional(&mut *db)
        .await?;
    let away: Option<(i64,)> =
        sqlx::query_as("SELECT user_epoch FROM away WHERE user_key = ?").bind(key).fetch_optional(&mut *db).await?;
    match (user, away) {
        (Some((_, epoch)), Some((away,))) if away > epoch => return Ok(false),
        (Some((state, _)), _) => return Ok(state == "home" || state == "frozen"),
        (None, Some(_)) => return Ok(false),
        (None, None) => {}
    }
    let bucket: Option<(String,)> = sqlx::query_as("SELECT state FROM cell_bucket WHERE bucket = ?")
        .bind(bucket(key))
        .fetch_optional(&mut *db)
        .await?;
    Ok(bucket.is_some_and(|(state,)| state != "gone"))
}
