//! How a preview stands.

use super::{coupon, lines};
use crate::trade::pricing_service_methods::CheckPreview;
use client_sdk::{LocalLogic, UserKey, Verdict};
use shop_logic::{Asked, UserId, check_preview};
use shop_proto::trade_v1::{CheckPreviewRequest, CheckPreviewResponse};

/// Answers `PricingService/CheckPreview`. Like the server it reads the token's clear text only: whether the token is
/// genuine, PlaceOrder says.
#[derive(Clone, Copy, Debug)]
pub struct PreviewCheck;

impl LocalLogic for PreviewCheck {
    type Method = CheckPreview;
    type Data = ();

    const NAME: &'static str = "preview";
    const MAJOR: u32 = 1;
    const MINOR: u32 = 0;

    fn eval(&self, (): (), now_ms: i64, request: &CheckPreviewRequest) -> Verdict<CheckPreviewResponse> {
        let answer = || {
            let user = request.user_id.as_bytes();
            UserId::new(&request.user_id).ok().filter(|_| UserKey::check(user).is_ok())?;
            let (lines, coupon) = (lines(&request.lines)?, coupon(&request.coupon_code)?);
            let asked = Asked { user, lines: &lines, coupon: coupon.as_ref() };
            Some(check_preview(&request.preview_token, &asked, now_ms).into())
        };
        answer().map_or(Verdict::Unsure, Verdict::Answer)
    }
}
