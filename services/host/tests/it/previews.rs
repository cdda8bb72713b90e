use crate::{
    audit,
    cell::{Cell, assert_shop, order, product},
};
use shop_proto::{
    catalog_v1::UpdateProductRequest,
    trade_v1::{PlaceOrderRequest, PreviewOrderRequest, PreviewOrderResponse},
};
use std::time::Duration;
use tonic::Code;

async fn preview(cell: &Cell, of: &PlaceOrderRequest) -> PreviewOrderResponse {
    let asked = PreviewOrderRequest {
        user_id: of.user_id.clone(),
        lines: of.lines.clone(),
        coupon_code: of.coupon_code.clone(),
    };
    cell.trade().preview_order(asked).await.expect("priced").into_inner()
}

fn total(of: Option<&shop_proto::trade_v1::Money>) -> i64 {
    of.expect("there").minor_units
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_holds_its_prices() {
    let cell = Cell::start().await;
    cell.sell("tea", 100, 10).await;
    let ann = cell.rich(1_000).await;
    let seen = preview(&cell, &order(&ann, "", &[("tea", 2)])).await;
    assert_eq!((total(seen.total.as_ref()), seen.catalog_version), (200, 1));

    let mut dearer = product("tea", 300, 0);
    dearer.allotments.clear();
    let update = UpdateProductRequest { request_id: "u-1".into(), product: Some(dearer) };
    cell.catalog().update_product(update).await.expect("updated");
    crate::cell::eventually("the new price is in force", async || {
        total(preview(&cell, &order(&ann, "", &[("tea", 2)])).await.total.as_ref()) == 600
    })
    .await;

    let held = PlaceOrderRequest { preview_token: seen.preview_token, ..order(&ann, "held", &[("tea", 2)]) };
    let placed = cell.place(held.clone()).await.expect("placed").order.expect("there");
    assert_eq!(total(placed.total.as_ref()), 200, "the previewed price");
    let present = cell.place(order(&ann, "present", &[("tea", 2)])).await.expect("placed").order.expect("there");
    assert_eq!(total(present.total.as_ref()), 600, "without a token, the present one");

    cell.skip(Duration::from_secs(6 * 60));
    let again = cell.place(held.clone()).await.expect("replayed").order.expect("there");
    assert_eq!(again, placed, "a repetition gets its answer although the token has expired");
    let late = cell.place(PlaceOrderRequest { request_id: "late".into(), ..held }).await.expect_err("expired");
    assert_shop(&late, Code::FailedPrecondition, "PREVIEW_EXPIRED");
    cell.sells("tea", 6).await;
    audit::assert_sound(&cell.database()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_is_good_for_its_user_and_lines_only() {
    let cell = Cell::start().await;
    cell.sell("tea", 100, 10).await;
    let (ann, bob) = (cell.rich(1_000).await, cell.rich(1_000).await);
    let token = preview(&cell, &order(&ann, "", &[("tea", 2)])).await.preview_token;
    let other = if token.ends_with('A') { 'Q' } else { 'A' };
    let tampered = format!("{}{other}", &token[..token.len() - 1]);
    for (token, asked) in [
        (&token, order(&bob, "r-1", &[("tea", 2)])),
        (&token, order(&ann, "r-1", &[("tea", 3)])),
        (&tampered, order(&ann, "r-1", &[("tea", 2)])),
        (&"garbage".to_owned(), order(&ann, "r-1", &[("tea", 2)])),
        (&"x".repeat(10_000), order(&ann, "r-1", &[("tea", 2)])),
    ] {
        let refused = cell.place(PlaceOrderRequest { preview_token: token.clone(), ..asked }).await;
        assert_shop(&refused.expect_err("not this order's"), Code::FailedPrecondition, "PREVIEW_MISMATCH");
    }
    cell.sells("tea", 10).await;
    audit::assert_sound(&cell.database()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_price_has_no_preview() {
    let cell = Cell::start().await;
    cell.sell("gold", i64::MAX, 10).await;
    let ann = cell.register().await;
    let preview = async |lines: &[(&str, i32)]| {
        let of = order(&ann, "", lines);
        let asked = PreviewOrderRequest { user_id: of.user_id, lines: of.lines, ..Default::default() };
        cell.trade().preview_order(asked).await.expect_err("no price")
    };
    assert_shop(&preview(&[("none", 1)]).await, Code::NotFound, "UNKNOWN_SKU");
    assert_shop(&preview(&[("gold", 2)]).await, Code::FailedPrecondition, "AMOUNT_TOO_LARGE");
}
