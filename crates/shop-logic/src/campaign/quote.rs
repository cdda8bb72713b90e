//! What an order costs.

use super::{Benefit, Campaigns, Coupon, SpendDiscount, Terms};
use crate::{CampaignId, CouponCode, Lines, Money, MoneyError, PriceError, PricedLine, PricedOrder, Sku, price};

/// A coupon's code, and how many orders of the user each campaign has served already.
#[derive(Clone, Copy, Debug)]
pub struct Redeeming<'a, F> {
    /// What the user typed.
    pub code: &'a CouponCode,
    /// Number of his orders that a campaign served.
    pub redeemed: F,
}

/// What a campaign takes off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discount {
    /// Which campaign.
    pub campaign: CampaignId,
    /// Off which line; none: off the whole order.
    pub sku: Option<Sku>,
    /// How much, more than 0.
    pub amount: Money,
}

/// A coupon that counts in an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CouponUse {
    /// Its campaign.
    pub campaign: CampaignId,
    /// How many orders of one user it serves.
    pub per_user_limit: u32,
    /// What it takes off.
    pub amount: Money,
}

/// Why a coupon does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CouponRefusal {
    /// No campaign has the code.
    #[error("no campaign has this code")]
    Unknown,
    /// It was halted.
    #[error("the coupon is paused")]
    Paused,
    /// Too early.
    #[error("the coupon is valid from {start_ms} ms since the Unix epoch on")]
    NotStarted {
        /// When it begins.
        start_ms: i64,
    },
    /// Too late.
    #[error("the coupon was valid until {end_ms} ms since the Unix epoch")]
    Ended {
        /// When it was over.
        end_ms: i64,
    },
    /// The user had his share.
    #[error("the coupon serves {limit} orders of one user, all of them were placed")]
    UsedUp {
        /// How many orders of one user it serves.
        limit: u32,
    },
    /// The order is too small, or in another currency.
    #[error("the coupon needs list prices of at least {threshold}")]
    BelowThreshold {
        /// What the list prices must reach.
        threshold: Money,
    },
    /// It would take nothing off.
    #[error("the coupon takes nothing off this order")]
    NothingOff,
}

/// Priced lines, what campaigns take off, and what is to be paid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quote {
    order: PricedOrder,
    discounts: Vec<Discount>,
    coupon: Option<Result<CouponUse, CouponRefusal>>,
    total: Money,
}

impl Quote {
    /// List prices with these discounts.
    ///
    /// # Errors
    /// If the amounts do not combine.
    pub(crate) fn of(
        order: PricedOrder,
        discounts: Vec<Discount>,
        coupon: Option<CouponUse>,
    ) -> Result<Self, MoneyError> {
        let total = discounts.iter().try_fold(order.total(), |total, discount| total.checked_sub(discount.amount))?;
        Ok(Self { order, discounts, coupon: coupon.map(Ok), total })
    }

    /// The lines at list prices, in the order's sequence.
    #[must_use]
    pub fn lines(&self) -> &[PricedLine] {
        self.order.lines()
    }

    /// Sum of the lines at list prices.
    #[must_use]
    pub const fn subtotal(&self) -> Money {
        self.order.total()
    }

    /// What campaigns take off: of the lines in their sequence, then of the order, the coupon last.
    #[must_use]
    pub fn discounts(&self) -> &[Discount] {
        &self.discounts
    }

    /// Whether the coupon counts, if a code was given. It then has the last of the discounts.
    #[must_use]
    pub fn coupon(&self) -> Option<Result<&CouponUse, CouponRefusal>> {
        self.coupon.as_ref().map(|coupon| coupon.as_ref().map_err(|refusal| *refusal))
    }

    /// What is to be paid: the sum of the lines less the discounts.
    #[must_use]
    pub const fn total(&self) -> Money {
        self.total
    }
}

/// Prices lines by the rule of [`campaign`](super): each list price comes from `unit_price`, campaigns count as of `now_ms`
/// (milliseconds since the Unix epoch). A coupon that does not count is told in the quote and takes nothing off.
///
/// # Errors
/// If a product is unknown, currencies differ or an amount does not fit.
pub fn quote(
    lines: &Lines,
    unit_price: impl FnMut(&Sku) -> Option<Money>,
    campaigns: &Campaigns,
    redeeming: Option<Redeeming<'_, impl Fn(&CampaignId) -> u32>>,
    now_ms: i64,
) -> Result<Quote, PriceError> {
    let order = price(lines, unit_price)?;
    let list = order.total();
    let mut rest = Rest { remaining: list, discounts: Vec::new() };
    for line in order.lines() {
        if let Some((id, off)) = campaigns.of_product(&line.sku, now_ms) {
            let amount = off.of(line.unit_price).times(line.quantity);
            let amount = amount.map_err(|source| PriceError::Money { sku: line.sku.clone(), source })?;
            rest.take(id, Some(&line.sku), amount);
        }
    }
    let fits = |discount: SpendDiscount| reaches(list, discount.threshold());
    if let Some((id, discount)) = campaigns.of_spending(fits, now_ms) {
        rest.take(id, None, discount.amount_off());
    }
    let coupon = redeeming.map(|redeeming| {
        let (terms, coupon) = campaigns.of_code(redeeming.code).ok_or(CouponRefusal::Unknown)?;
        may_redeem(terms, coupon, list, (redeeming.redeemed)(&terms.id), now_ms)?;
        let amount = match coupon.benefit() {
            Benefit::Amount(amount) => amount,
            Benefit::Share(points) => points.of(rest.remaining),
        };
        let amount = rest.take(&terms.id, None, amount).ok_or(CouponRefusal::NothingOff)?;
        Ok(CouponUse { campaign: terms.id.clone(), per_user_limit: coupon.per_user_limit(), amount })
    });
    Ok(Quote { order, discounts: rest.discounts, coupon, total: rest.remaining })
}

/// Whether a coupon counts for an order with these list prices, of a user whom it has served so often.
fn may_redeem(
    Terms { paused, window, .. }: &Terms,
    coupon: &Coupon,
    list: Money,
    redeemed: u32,
    now_ms: i64,
) -> Result<(), CouponRefusal> {
    let (start_ms, end_ms) = (window.start_ms(), window.end_ms());
    let (limit, threshold) = (coupon.per_user_limit(), coupon.threshold());
    match () {
        () if *paused => Err(CouponRefusal::Paused),
        () if now_ms < start_ms => Err(CouponRefusal::NotStarted { start_ms }),
        () if now_ms >= end_ms => Err(CouponRefusal::Ended { end_ms }),
        () if redeemed >= limit => Err(CouponRefusal::UsedUp { limit }),
        () if !reaches(list, threshold) => Err(CouponRefusal::BelowThreshold { threshold }),
        () => Ok(()),
    }
}

fn reaches(list: Money, threshold: Money) -> bool {
    list.currency() == threshold.currency() && list.minor_units() >= threshold.minor_units()
}

/// What remains to be paid.
struct Rest {
    remaining: Money,
    discounts: Vec<Discount>,
}

impl Rest {
    /// Takes an amount off, or as much of it as leaves one minor unit; what was taken, if anything was.
    fn take(&mut self, campaign: &CampaignId, sku: Option<&Sku>, amount: Money) -> Option<Money> {
        let most = self.remaining.minor_units().checked_sub(1)?;
        let amount = Money::new(amount.currency(), amount.minor_units().min(most));
        let remaining = self.remaining.checked_sub(amount).ok().filter(|_| amount.minor_units() > 0)?;
        self.remaining = remaining;
        self.discounts.push(Discount { campaign: campaign.clone(), sku: sku.cloned(), amount });
        Some(amount)
    }
}

#[cfg(test)]
mod tests;
