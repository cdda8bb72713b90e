//! How many orders of a user each coupon served.

use super::{Result, no, stored};
use crate::Error;
use cell_map::UserKey;
use shop_logic::{
    CampaignId,
    campaign::{CouponRefusal, CouponUse},
};
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

/// A user's (1) redemptions in the order of their last change, after a position and id (2, 3), at most so many (4).
pub const REDEMPTIONS: &str = "
    SELECT position, campaign_id, redeemed FROM trade_redemption
    WHERE user_key = ?1 AND (position, campaign_id) > (?2, ?3) ORDER BY position, campaign_id LIMIT ?4";

/// How many orders of a user a campaign's coupon has served, as of its last change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redemption {
    /// The user's position then.
    pub position: u64,
    /// Which campaign.
    pub campaign: String,
    /// How many.
    pub redeemed: u32,
}

/// How many orders of a user a campaign's coupon has served.
///
/// # Errors
/// With a failure of the database.
pub async fn redeemed(conn: &mut SqliteConnection, user: &UserKey, campaign: &CampaignId) -> Result<u32> {
    let redeemed = sqlx::query_scalar("SELECT redeemed FROM trade_redemption WHERE user_key = ? AND campaign_id = ?")
        .bind(user.as_bytes())
        .bind(campaign.as_str())
        .fetch_optional(conn)
        .await?;
    Ok(redeemed.unwrap_or(0))
}

/// Counts one more order, at the user's position: one conditional UPDATE, so that no two orders share the last one allowed.
pub(super) async fn redeem(
    conn: &mut SqliteConnection,
    user: &UserKey,
    coupon: &CouponUse,
    position: u64,
) -> Result<()> {
    let counted = sqlx::query(
        "INSERT INTO trade_redemption (user_key, campaign_id, redeemed, position) VALUES (?1, ?2, 1, ?3)
         ON CONFLICT (user_key, campaign_id) DO UPDATE SET redeemed = redeemed + 1, position = excluded.position
           WHERE redeemed < ?4",
    )
    .bind(user.as_bytes())
    .bind(coupon.campaign.as_str())
    .bind(stored("position", i64::try_from(position))?)
    .bind(coupon.per_user_limit)
    .execute(conn)
    .await?;
    if counted.rows_affected() == 1 {
        return Ok(());
    }
    no(Error::Coupon(CouponRefusal::UsedUp { limit: coupon.per_user_limit }))
}

/// A user's redemptions in the order of their last change, those after the position and id.
///
/// # Errors
/// With a failure of the database.
pub async fn redemptions(
    conn: &mut SqliteConnection,
    user: &UserKey,
    (position, campaign): (u64, &str),
    limit: usize,
) -> Result<Vec<Redemption>> {
    let rows = sqlx::query(REDEMPTIONS)
        .bind(user.as_bytes())
        .bind(stored("position", i64::try_from(position))?)
        .bind(campaign)
        .bind(stored("limit", i64::try_from(limit))?)
        .fetch_all(conn)
        .await?;
    let redemption = |row: &SqliteRow| {
        let position = stored("position", u64::try_from(row.try_get::<i64, _>("position")?))?;
        Ok(Redemption { position, campaign: row.try_get("campaign_id")?, redeemed: row.try_get("redeemed")? })
    };
    rows.iter().map(redemption).collect()
}
