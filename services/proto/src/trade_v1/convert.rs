//! Prices as messages: one way for the service and for clients that price by themselves, so that their answers can be
//! compared.

use super as pb;
use shop_logic::{
    Money, PreviewStanding, PricedLine,
    campaign::{CouponRefusal, Discount, Quote},
};

impl From<Money> for pb::Money {
    fn from(money: Money) -> Self {
        Self { currency_code: money.currency().code().to_owned(), minor_units: money.minor_units() }
    }
}

impl From<&PricedLine> for pb::PricedLine {
    fn from(line: &PricedLine) -> Self {
        Self {
            sku: line.sku.to_string(),
            quantity: line.quantity.get().into(),
            unit_price: Some(line.unit_price.into()),
            line_total: Some(line.total.into()),
        }
    }
}

impl From<&Discount> for pb::Discount {
    fn from(discount: &Discount) -> Self {
        Self {
            campaign_id: discount.campaign.to_string(),
            sku: discount.sku.as_ref().map(ToString::to_string).unwrap_or_default(),
            amount: Some(discount.amount.into()),
        }
    }
}

impl pb::QuotePriceResponse {
    /// What was quoted by the catalogue and the campaigns of these versions.
    #[must_use]
    pub fn new(quote: &Quote, catalog_version: u64, campaign_version: u64) -> Self {
        Self {
            lines: quote.lines().iter().map(Into::into).collect(),
            discounts: quote.discounts().iter().map(Into::into).collect(),
            subtotal: Some(quote.subtotal().into()),
            total: Some(quote.total().into()),
            coupon_reason: reason(quote).into(),
            catalog_version,
            campaign_version,
        }
    }
}

impl From<&Quote> for pb::CheckCouponResponse {
    fn from(quote: &Quote) -> Self {
        let used = quote.coupon().and_then(Result::ok);
        let discount = used.map(|used| used.amount.into());
        Self { eligible: used.is_some(), reason: reason(quote).into(), discount }
    }
}

fn reason(quote: &Quote) -> pb::CouponReason {
    match quote.coupon() {
        None => pb::CouponReason::Unspecified,
        Some(Ok(_)) => pb::CouponReason::Eligible,
        Some(Err(refusal)) => match refusal {
            CouponRefusal::Unknown => pb::CouponReason::UnknownCode,
            CouponRefusal::Paused => pb::CouponReason::Paused,
            CouponRefusal::NotStarted { .. } => pb::CouponReason::NotStarted,
            CouponRefusal::Ended { .. } => pb::CouponReason::Ended,
            CouponRefusal::UsedUp { .. } => pb::CouponReason::UsedUp,
            CouponRefusal::BelowThreshold { .. } => pb::CouponReason::BelowThreshold,
            CouponRefusal::NothingOff => pb::CouponReason::NothingOff,
        },
    }
}

impl From<PreviewStanding> for pb::CheckPreviewResponse {
    fn from(standing: PreviewStanding) -> Self {
        let (standing, expire_time_ms) = match standing {
            PreviewStanding::Stands { expire_time_ms } => (pb::PreviewStanding::Stands, expire_time_ms),
            PreviewStanding::Expired { expire_time_ms } => (pb::PreviewStanding::Expired, expire_time_ms),
            PreviewStanding::OtherLines => (pb::PreviewStanding::OtherLines, 0),
            PreviewStanding::Malformed => (pb::PreviewStanding::Malformed, 0),
        };
        Self { standing: standing.into(), expire_time_ms }
    }
}
