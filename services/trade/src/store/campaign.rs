//! Campaigns as far as they count for prices.

use super::{CAMPAIGN_POSITION, Result, grouped, stored};
use replication::Batch;
use shop_logic::{
    CampaignId, Campaigns, CouponCode, Currency, Lines, Money, Sku,
    campaign::{BasisPoints, Benefit, Coupon, Kind, ProductDiscount, SpendDiscount, Terms, Window},
};
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection, sqlite::SqliteRow};
use storage::Tx;

/// Discounts of products (1, a JSON array) that are in force at a time (2).
pub const OF_PRODUCTS: &str = "
    SELECT c.*, s.sku FROM trade_campaign_sku s JOIN trade_campaign c ON c.campaign_id = s.campaign_id
    WHERE s.sku IN (SELECT value FROM json_each(?1)) AND c.paused = 0 AND c.start_time_ms <= ?2 AND c.end_time_ms > ?2";
/// Spend discounts that are in force at a time (1).
pub const OF_SPENDING: &str = "
    SELECT * FROM trade_campaign WHERE kind = 'spend' AND paused = 0 AND start_time_ms <= ?1 AND end_time_ms > ?1";
/// The coupon with a code (1).
pub const OF_CODE: &str = "SELECT * FROM trade_campaign WHERE code = ?1 ORDER BY campaign_id LIMIT 1";

/// Those campaigns that may touch these lines with this coupon at `now_ms`, in milliseconds since the Unix epoch.
///
/// # Errors
/// With a failure of the database.
pub async fn touching(
    conn: &mut SqliteConnection,
    lines: &Lines,
    coupon: Option<&CouponCode>,
    now_ms: i64,
) -> Result<Campaigns> {
    let mut campaigns = Campaigns::default();
    let skus: Vec<&str> = lines.as_slice().iter().map(|line| line.sku.as_str()).collect();
    let skus = stored("SKU", serde_json::to_string(&skus))?;
    let rows = sqlx::query(OF_PRODUCTS).bind(skus).bind(now_ms).fetch_all(&mut *conn).await?;
    // One row for each campaign and product.
    for rows in grouped(&rows, "campaign_id")?.into_values() {
        let skus = rows.iter().map(|row| stored("SKU", Sku::new(row.try_get("sku")?))).collect::<Result<_>>()?;
        campaigns.put(terms(rows[0], skus)?);
    }
    for row in sqlx::query(OF_SPENDING).bind(now_ms).fetch_all(&mut *conn).await? {
        campaigns.put(terms(&row, vec![])?);
    }
    if let Some(code) = coupon {
        let row = sqlx::query(OF_CODE).bind(code.as_str()).fetch_optional(conn).await?;
        row.map(|row| terms(&row, vec![])).transpose()?.into_iter().for_each(|terms| campaigns.put(terms));
    }
    Ok(campaigns)
}

/// A campaign of a row; of its products those given.
fn terms(row: &SqliteRow, skus: Vec<Sku>) -> Result<Terms> {
    let points = || -> Result<_> { stored("share", BasisPoints::new(row.try_get("basis_points")?)) };
    let currency = || -> Result<_> { stored("currency", Currency::new(row.try_get("currency")?)) };
    let money = |column| -> Result<_> { Ok(Money::new(currency()?, row.try_get(column)?)) };
    let kind = match row.try_get("kind")? {
        "product" => Kind::Product(stored("products", ProductDiscount::new(skus, points()?))?),
        "spend" => {
            Kind::Spend(stored("discount", SpendDiscount::new(money("threshold_minor")?, money("amount_minor")?))?)
        }
        _ => {
            let amount: Option<i64> = row.try_get("amount_minor")?;
            let benefit = match amount {
                Some(amount) => Benefit::Amount(Money::new(currency()?, amount)),
                None => Benefit::Share(points()?),
            };
            let code = stored("code", CouponCode::new(row.try_get("code")?))?;
            let limit = stored("limit", Coupon::per_user(row.try_get("per_user_limit")?))?;
            Kind::Coupon(stored("coupon", Coupon::new(code, limit, money("threshold_minor")?, benefit))?)
        }
    };
    let window = Window::new(row.try_get("start_time_ms")?, row.try_get("end_time_ms")?);
    Ok(Terms {
        id: stored("campaign", CampaignId::new(row.try_get("campaign_id")?))?,
        window: stored("window", window)?,
        paused: row.try_get("paused")?,
        kind,
    })
}

/// Applies a batch of the campaigns' stream and its position.
///
/// # Errors
/// If the batch does not fit where the campaigns stand, or with a failure of the database.
pub async fn apply_campaigns(tx: &mut Tx, batch: &Batch<Terms>) -> Result<()> {
    CAMPAIGN_POSITION.advance(tx, batch).await?;
    if batch.replace {
        sqlx::query("DELETE FROM trade_campaign").execute(tx.conn()).await?;
        sqlx::query("DELETE FROM trade_campaign_sku").execute(tx.conn()).await?;
    }
    for terms in &batch.items {
        put(tx.conn(), terms).await?;
    }
    Ok(())
}

/// What of a kind stands in columns.
#[derive(Default)]
struct Columns<'a> {
    kind: &'static str,
    skus: &'a [Sku],
    basis_points: Option<i64>,
    threshold: Option<Money>,
    amount: Option<i64>,
    code: Option<&'a str>,
    per_user_limit: Option<i64>,
}

impl<'a> Columns<'a> {
    fn of(kind: &'a Kind) -> Self {
        match kind {
            Kind::Product(discount) => Self {
                kind: "product",
                skus: discount.skus(),
                basis_points: Some(discount.off().get().into()),
                ..Self::default()
            },
            Kind::Spend(discount) => Self {
                kind: "spend",
                threshold: Some(discount.threshold()),
                amount: Some(discount.amount_off().minor_units()),
                ..Self::default()
            },
            Kind::Coupon(coupon) => {
                let (basis_points, amount) = match coupon.benefit() {
                    Benefit::Amount(amount) => (None, Some(amount.minor_units())),
                    Benefit::Share(points) => (Some(points.get().into()), None),
                };
                Self {
                    kind: "coupon",
                    basis_points,
                    threshold: Some(coupon.threshold()),
                    amount,
                    code: Some(coupon.code().as_str()),
                    per_user_limit: Some(coupon.per_user_limit().into()),
                    ..Self::default()
                }
            }
        }
    }
}

async fn put(conn: &mut SqliteConnection, terms: &Terms) -> Result<()> {
    let columns = Columns::of(&terms.kind);
    sqlx::query(
        "INSERT OR REPLACE INTO trade_campaign (campaign_id, start_time_ms, end_time_ms, paused, kind, basis_points,
           currency, threshold_minor, amount_minor, code, per_user_limit) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(terms.id.as_str())
    .bind(terms.window.start_ms())
    .bind(terms.window.end_ms())
    .bind(terms.paused)
    .bind(columns.kind)
    .bind(columns.basis_points)
    .bind(columns.threshold.map(|threshold| threshold.currency().code()))
    .bind(columns.threshold.map(Money::minor_units))
    .bind(columns.amount)
    .bind(columns.code)
    .bind(columns.per_user_limit)
    .execute(&mut *conn)
    .await?;
    sqlx::query("DELETE FROM trade_campaign_sku WHERE campaign_id = ?")
        .bind(terms.id.as_str())
        .execute(&mut *conn)
        .await?;
    if columns.skus.is_empty() {
        return Ok(());
    }
    let mut skus = QueryBuilder::<Sqlite>::new("INSERT INTO trade_campaign_sku (sku, campaign_id) ");
    skus.push_values(columns.skus, |mut row, sku| {
        row.push_bind(sku.as_str()).push_bind(terms.id.as_str());
    });
    skus.build().execute(conn).await?;
    Ok(())
}
