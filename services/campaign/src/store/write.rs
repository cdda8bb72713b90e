//! Writing campaigns: in the global cell as their author, elsewhere as a copy.

use super::{POSITION, Result, no, read, row::KindColumns, stored};
use crate::Error;
use shop_logic::{
    Campaign, CampaignId, Title,
    campaign::{Kind, Window},
};
use sqlx::SqliteConnection;
use storage::Tx;

/// What of a campaign can be changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Of which.
    pub id: CampaignId,
    /// Its new title.
    pub title: Title,
    /// When it counts from now on.
    pub window: Window,
    /// Whether it is halted.
    pub paused: bool,
}

/// Writes a new campaign and returns it with its version.
///
/// # Errors
/// If it exists already or another one has its coupon's code, or with a failure of the database.
pub async fn create(tx: &mut Tx, campaign: &Campaign) -> Result<Campaign> {
    let id = &campaign.terms.id;
    if !read::find(tx.conn(), std::slice::from_ref(id)).await?.is_empty() {
        return no(Error::AlreadyExists(id.clone()));
    }
    if let Kind::Coupon(coupon) = &campaign.terms.kind {
        let code = coupon.code();
        let owner = sqlx::query_scalar("SELECT campaign_id FROM campaign_campaign WHERE code = ?")
            .bind(code.as_str())
            .fetch_optional(tx.conn())
            .await?;
        if let Some(owner) = owner {
            return no(Error::CodeTaken { code: code.clone(), owner });
        }
    }
    write(tx, campaign.clone()).await
}

/// Changes a campaign and returns it as it is then.
///
/// # Errors
/// If it does not exist, or with a failure of the database.
pub async fn update(tx: &mut Tx, Change { id, title, window, paused }: &Change) -> Result<Campaign> {
    let found = read::find(tx.conn(), std::slice::from_ref(id)).await?.remove(id);
    let Some(mut campaign) = found else { return no(Error::NotFound(id.clone())) };
    campaign.title = title.clone();
    (campaign.terms.window, campaign.terms.paused) = (*window, *paused);
    write(tx, campaign).await
}

async fn write(tx: &mut Tx, campaign: Campaign) -> Result<Campaign> {
    let campaign = Campaign { version: POSITION.next(tx).await?.sequence, ..campaign };
    put(tx.conn(), &campaign).await?;
    Ok(campaign)
}

/// Removes all campaigns.
///
/// # Errors
/// With a failure of the database.
pub async fn clear(conn: &mut SqliteConnection) -> Result<()> {
    sqlx::query("DELETE FROM campaign_campaign").execute(&mut *conn).await?;
    sqlx::query("DELETE FROM campaign_product").execute(conn).await?;
    Ok(())
}

/// Writes a campaign as it is, in the place of what was there.
///
/// # Errors
/// With a failure of the database.
pub async fn put(conn: &mut SqliteConnection, campaign: &Campaign) -> Result<()> {
    let Campaign { terms, title, version } = campaign;
    let columns = KindColumns::from(&terms.kind);
    let id = terms.id.as_str();
    sqlx::query(
        "INSERT INTO campaign_campaign (campaign_id, title, start_ms, end_ms, paused, version, kind, skus,
           basis_points_off, currency, threshold_minor, amount_off_minor, code, per_user_limit)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (campaign_id) DO UPDATE SET title = excluded.title, start_ms = excluded.start_ms,
           end_ms = excluded.end_ms, paused = excluded.paused, version = excluded.version",
    )
    .bind(id)
    .bind(title.as_str())
    .bind(terms.window.start_ms())
    .bind(terms.window.end_ms())
    .bind(i64::from(terms.paused))
    .bind(stored("version", i64::try_from(*version))?)
    .bind(columns.kind)
    .bind(&columns.skus)
    .bind(columns.basis_points_off)
    .bind(columns.currency)
    .bind(columns.threshold_minor)
    .bind(columns.amount_off_minor)
    .bind(columns.code)
    .bind(columns.per_user_limit)
    .execute(&mut *conn)
    .await?;
    sqlx::query("DELETE FROM campaign_product WHERE campaign_id = ?").bind(id).execute(&mut *conn).await?;
    // Only some kinds have products: of none there are none.
    sqlx::query("INSERT INTO campaign_product (sku, end_ms, campaign_id) SELECT value, ?, ? FROM json_each(?)")
        .bind(terms.window.end_ms())
        .bind(id)
        .bind(columns.skus.as_deref().unwrap_or("[]"))
        .execute(conn)
        .await?;
    Ok(())
}
