//! What a preview's token says without its seal.

use super::{CODE, Inside, is_inside, lines, mesh, preview, random, server};
use crate::cell::{Cell, assert_shop, order};
use shop_logic::{
    Asked, CampaignId, Campaigns, CouponCode, Currency, Line, Lines, Money, PreviewKey, PreviewKeys, PreviewTerms,
    Quantity, Sku,
    campaign::{Redeeming, quote},
};
use shop_proto::trade_v1::{CheckPreviewRequest, PlaceOrderRequest, PreviewStanding};
use tonic::Code;

/// Tokens of all kinds, inside and at the server; what is forged is found out where an order is placed.
#[tokio::test(flavor = "multi_thread")]
async fn a_preview_is_checked_inside_by_what_stands_in_its_token() {
    let cell = Cell::start().await;
    cell.sell("tea", 1_000, 10).await;
    let (ann, bob) = (cell.rich(10_000).await, cell.rich(10_000).await);
    let (token, _) = preview(&cell, &order(&ann, "", &[("tea", 2)])).await.expect("previewed");
    let now_ms = 1_000 * i64::try_from(random::seconds()).expect("fits");
    let forged = |expire_time_ms| {
        let sku = Sku::new("tea").expect("valid");
        let line = Line { sku, quantity: Quantity::new(2).expect("valid") };
        let lines = Lines::new(vec![line]).expect("valid");
        let asked = Asked { user: ann.as_bytes(), lines: &lines, coupon: None::<&CouponCode> };
        let one = Money::new(Currency::CNY, 1);
        let none = None::<Redeeming<'_, fn(&CampaignId) -> u32>>;
        let quote = quote(&lines, |_| Some(one), &Campaigns::default(), none, 0).expect("small");
        let keys = PreviewKeys::new(vec![PreviewKey::new(1, [7; 32])]).expect("one");
        keys.seal(&asked, &quote, PreviewTerms { catalog_version: 1, campaign_version: 1, expire_time_ms })
    };
    let (late, false_one) = (forged(now_ms - 60_000), forged(now_ms + 600_000));
    let mesh = mesh(&cell);
    let inside = Inside::new(&mesh);
    let check = |token: &str, user_id: &str, of: &[(&str, i32)]| CheckPreviewRequest {
        preview_token: token.into(),
        user_id: user_id.into(),
        lines: lines(of),
        coupon_code: String::new(),
    };
    for (asked, expected) in [
        (check(&token, &ann, &[("tea", 2)]), PreviewStanding::Stands),
        (check(&token, &ann, &[("tea", 3)]), PreviewStanding::OtherLines),
        (check(&token, &bob, &[("tea", 2)]), PreviewStanding::OtherLines),
        (
            CheckPreviewRequest { coupon_code: CODE.into(), ..check(&token, &ann, &[("tea", 2)]) },
            PreviewStanding::OtherLines,
        ),
        (check(&late, &ann, &[("tea", 2)]), PreviewStanding::Expired),
        (check(&false_one, &ann, &[("tea", 2)]), PreviewStanding::Stands),
        (check("", &ann, &[("tea", 2)]), PreviewStanding::Malformed),
        (check("garbage", &ann, &[("tea", 2)]), PreviewStanding::Malformed),
    ] {
        let here = inside.check_preview(asked.clone()).await.expect("answered");
        let there = server(&cell).check_preview(asked.clone()).await.expect("answered").into_inner();
        assert!(is_inside(&here), "{:?}", here.source);
        assert_eq!((here.value, there.standing()), (there, expected), "{asked:?}");
    }
    for asked in [check(&token, "", &[("tea", 2)]), check(&token, "0", &[("tea", 2)]), check(&token, &ann, &[])] {
        let refused = server(&cell).check_preview(asked.clone()).await.expect_err("refused");
        let here = inside.check_preview(asked).await.expect_err("refused");
        assert_eq!((refused.code(), here.reason()), (Code::InvalidArgument, Some("BAD_REQUEST")));
    }
    for (token, reason) in
        [(late, "PREVIEW_MISMATCH"), (false_one, "PREVIEW_MISMATCH"), (LAYOUT_1.into(), "PREVIEW_OUTDATED")]
    {
        let placing = PlaceOrderRequest { preview_token: token, ..order(&ann, "r-1", &[("tea", 2)]) };
        assert_shop(&cell.place(placing).await.expect_err("refused"), Code::FailedPrecondition, reason);
    }
}
/// A token as it was before there were discounts.
const LAYOUT_1: &str =
    "AQAAAAEAAAAAAAAABwAAAYvP5WgAQ05ZAgAAAAAAAADHAAAAAAAAANixvd2K0Hjppbj6anyo_IrJ3CtVmXNxABng9F3iaJbHcQ";
