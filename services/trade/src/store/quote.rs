//! What an order would cost, by what this cell sells and campaigns.

use super::{CAMPAIGN_POSITION, POSITION, Result, campaign, no, product, redemption};
use crate::Error;
use cell_map::UserKey;
use shop_logic::{
    CampaignId, Campaigns, CouponCode, Lines, Money, PriceError, Sku,
    campaign::{Quote, Redeeming, quote},
};
use std::collections::HashMap;
use storage::{Positions, Tx};

/// What a price rests on: read in one transaction, so that its parts belong together.
#[derive(Clone, Debug)]
pub struct Tariff {
    prices: HashMap<Sku, Money>,
    discounts: Discounts,
    /// Catalogue version of the prices.
    pub catalog_version: u64,
    /// Campaigns' version of the discounts.
    pub campaign_version: u64,
}

/// The part of it that makes orders cheaper.
#[derive(Clone, Debug)]
pub(super) struct Discounts {
    campaigns: Campaigns,
    redeemed: u32,
}

impl Tariff {
    /// All that touches these lines with this coupon at `now_ms` (milliseconds since the Unix epoch). Of a coupon it is
    /// counted how often the user redeemed it; without a user, it never was.
    ///
    /// # Errors
    /// If this cell has received no catalogue or no campaigns yet; with a failure of the database.
    pub async fn read(
        tx: &mut Tx,
        user: Option<&UserKey>,
        lines: &Lines,
        coupon: Option<&CouponCode>,
        now_ms: i64,
    ) -> Result<Self> {
        let catalog_version = version(POSITION, "catalogue", tx).await?;
        let prices = product::prices(tx.conn(), lines).await?;
        let (discounts, campaign_version) = Discounts::read(tx, user, lines, coupon, now_ms).await?;
        Ok(Self { prices, discounts, catalog_version, campaign_version })
    }

    /// What the lines cost with the coupon it was read for.
    ///
    /// # Errors
    /// If they have no price.
    pub fn quote(
        &self,
        lines: &Lines,
        coupon: Option<&CouponCode>,
        now_ms: i64,
    ) -> std::result::Result<Quote, PriceError> {
        self.discounts.quote(lines, |sku| self.prices.get(sku).copied(), coupon, now_ms)
    }
}

impl Discounts {
    /// Those that may touch these lines, and their version.
    pub async fn read(
        tx: &mut Tx,
        user: Option<&UserKey>,
        lines: &Lines,
        coupon: Option<&CouponCode>,
        now_ms: i64,
    ) -> Result<(Self, u64)> {
        let version = version(CAMPAIGN_POSITION, "campaigns", tx).await?;
        let conn = tx.conn();
        let campaigns = campaign::touching(conn, lines, coupon, now_ms).await?;
        let redeemed = match (user, coupon.and_then(|code| campaigns.with_code(code))) {
            (Some(user), Some(campaign)) => redemption::redeemed(conn, user, campaign).await?,
            _ => 0,
        };
        Ok((Self { campaigns, redeemed }, version))
    }

    pub fn quote(
        &self,
        lines: &Lines,
        unit_price: impl FnMut(&Sku) -> Option<Money>,
        coupon: Option<&CouponCode>,
        now_ms: i64,
    ) -> std::result::Result<Quote, PriceError> {
        let redeeming = coupon.map(|code| Redeeming { code, redeemed: |_: &CampaignId| self.redeemed });
        quote(lines, unit_price, &self.campaigns, redeeming, now_ms)
    }
}

/// Version of what is followed here. A price without it would be another one.
async fn version(positions: Positions, what: &'static str, tx: &mut Tx) -> Result<u64> {
    match positions.standing(tx).await? {
        Some(standing) => Ok(standing.position.sequence),
        None => no(Error::CopyMissing { what }),
    }
}
