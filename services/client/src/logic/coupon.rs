//! Whether a user may use a coupon.

use super::lines;
use crate::{
    CampaignFeed, CatalogFeed, InForce, Prices, Redeemed, RedemptionFeed, trade::pricing_service_methods::CheckCoupon,
};
use client_sdk::{Global, LocalLogic, PerUser, Verdict};
use shop_logic::{
    CampaignId, CouponCode,
    campaign::{Redeeming, quote},
};
use shop_proto::trade_v1::{CheckCouponRequest, CheckCouponResponse};

/// Answers `PricingService/CheckCoupon`.
#[derive(Clone, Copy, Debug)]
pub struct CouponCheck;

impl LocalLogic for CouponCheck {
    type Method = CheckCoupon;
    type Data = (Global<CatalogFeed>, Global<CampaignFeed>, PerUser<RedemptionFeed>);

    const NAME: &'static str = "coupon";
    const MAJOR: u32 = 1;
    const MINOR: u32 = 0;

    fn eval(
        &self,
        (prices, in_force, redeemed): (&Prices, &InForce, &Redeemed),
        now_ms: i64,
        request: &CheckCouponRequest,
    ) -> Verdict<CheckCouponResponse> {
        let answer = || {
            let (lines, code) = (lines(&request.lines)?, CouponCode::new(&request.coupon_code).ok()?);
            let redeeming = Redeeming { code: &code, redeemed: |campaign: &CampaignId| redeemed.of(campaign) };
            let quote = quote(&lines, |sku| prices.of(sku), in_force.campaigns(), Some(redeeming), now_ms).ok()?;
            Some((&quote).into())
        };
        answer().map_or(Verdict::Unsure, Verdict::Answer)
    }
}
