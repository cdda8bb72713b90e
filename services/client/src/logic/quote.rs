//! What an order costs.

use super::{coupon, lines};
use crate::{CampaignFeed, CatalogFeed, InForce, Prices, trade::pricing_service_methods::QuotePrice};
use client_sdk::{Global, LocalLogic, Verdict};
use shop_logic::{
    CampaignId,
    campaign::{Redeeming, quote},
};
use shop_proto::trade_v1::{QuotePriceRequest, QuotePriceResponse};

/// Answers `PricingService/QuotePrice`.
#[derive(Clone, Copy, Debug)]
pub struct PriceQuote;

impl LocalLogic for PriceQuote {
    type Method = QuotePrice;
    type Data = (Global<CatalogFeed>, Global<CampaignFeed>);

    const NAME: &'static str = "quote";
    const MAJOR: u32 = 1;
    const MINOR: u32 = 0;

    fn eval(
        &self,
        (prices, in_force): (&Prices, &InForce),
        now_ms: i64,
        request: &QuotePriceRequest,
    ) -> Verdict<QuotePriceResponse> {
        let answer = || {
            let (lines, coupon) = (lines(&request.lines)?, coupon(&request.coupon_code)?);
            // Of nobody in particular: no coupon was used yet.
            let redeeming = coupon.as_ref().map(|code| Redeeming { code, redeemed: |_: &CampaignId| 0 });
            let quote = quote(&lines, |sku| prices.of(sku), in_force.campaigns(), redeeming, now_ms).ok()?;
            Some(QuotePriceResponse::new(&quote, prices.version(), in_force.version()))
        };
        answer().map_or(Verdict::Unsure, Verdict::Answer)
    }
}
