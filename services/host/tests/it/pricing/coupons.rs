//! Coupons: who may use them, and that they are used no more often.

use super::{CODE, Inside, counts, is_inside, may_use, mesh, preview, run, server, with};
use crate::{
    audit,
    campaigns::{campaign, coupon},
    cell::{Cell, Setup, assert_mesh, assert_shop, eventually, info, order},
};
use cell_map::UserKey;
use shop_proto::{
    campaign_v1::{Campaign, CampaignState, UpdateCampaignRequest},
    trade_v1::{
        CheckCouponResponse, CouponReason, PlaceOrderRequest, Redemption, WatchRedemptionsRequest,
        WatchRedemptionsResponse,
    },
};
use std::{sync::Arc, time::Duration};
use storage::{Participants, UserData, conformance::steps};
use tonic::{Code, Status};

#[tokio::test(flavor = "multi_thread")]
async fn a_coupon_that_was_used_is_eligible_nowhere() {
    let cell = Cell::start().await;
    cell.sell("tea", 1_000, 10).await;
    run(&cell, &cell, coupon("half", CODE)).await;
    let ann = cell.rich(10_000).await;
    let mesh = mesh(&cell);
    let inside = Inside::new(&mesh);
    let says = async |expected: CouponReason| {
        let mut last = CheckCouponResponse::default();
        eventually("an answer inside", async || {
            let check = inside.check_coupon(may_use(&ann, CODE, &[("tea", 1)])).await.expect("answered");
            last = check.value.clone();
            is_inside(&check) && check.value.reason() == expected
        })
        .await;
        assert_eq!(
            last,
            server(&cell).check_coupon(may_use(&ann, CODE, &[("tea", 1)])).await.expect("answered").into_inner()
        );
        last
    };
    let may = says(CouponReason::Eligible).await;
    assert_eq!((may.eligible, may.discount.map(|money| money.minor_units)), (true, Some(500)));

    let (token, costs) = preview(&cell, &with(&ann, "", CODE, &[("tea", 1)])).await.expect("previewed");
    assert_eq!(costs, 500);
    // Two orders for the one that it serves, at once.
    let place = |request_id| cell.place(with(&ann, request_id, CODE, &[("tea", 1)]));
    let (one, other) = tokio::join!(place("r-1"), place("r-2"));
    let (placed, refused) = if one.is_ok() { (one, other) } else { (other, one) };
    let placed = placed.expect("one is placed").order.expect("there");
    assert_eq!((placed.total.map(|money| money.minor_units), &*placed.coupon_code), (Some(500), CODE));
    assert_eq!(placed.discounts.iter().map(|discount| &*discount.campaign_id).collect::<Vec<_>>(), ["half"]);
    let refused = refused.expect_err("the other is not");
    assert_shop(&refused, Code::FailedPrecondition, "COUPON_USED_UP");
    assert_eq!(info(&refused, "limit").as_deref(), Some("1"));

    assert!(!says(CouponReason::UsedUp).await.eligible);
    // A preview from before does not help either.
    let held = PlaceOrderRequest { preview_token: token, ..with(&ann, "r-3", CODE, &[("tea", 1)]) };
    assert_shop(&cell.place(held).await.expect_err("used up"), Code::FailedPrecondition, "COUPON_USED_UP");
    let again = preview(&cell, &with(&ann, "", CODE, &[("tea", 1)])).await.expect_err("used up");
    assert_shop(&again, Code::FailedPrecondition, "COUPON_USED_UP");
    let unknown = preview(&cell, &with(&ann, "", "NO-SUCH", &[("tea", 1)])).await.expect_err("unknown");
    assert_shop(&unknown, Code::NotFound, "UNKNOWN_COUPON");
    cell.sells("tea", 9).await;
    audit::assert_sound(&cell.database()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_holds_its_discounts_and_its_coupon() {
    let cell = Cell::start().await;
    cell.sell("tea", 1_000, 10).await;
    run(&cell, &cell, campaign("autumn")).await;
    run(&cell, &cell, coupon("half", CODE)).await;
    let ann = cell.rich(10_000).await;
    let of = [("tea", 2)];
    let (token, costs) = preview(&cell, &with(&ann, "", CODE, &of)).await.expect("previewed");
    assert_eq!(costs, 850, "half of 2 × 850");
    let (plain, costs) = preview(&cell, &order(&ann, "", &of)).await.expect("previewed");
    assert_eq!(costs, 1_700);
    for (token, code) in [(&token, ""), (&token, "OTHER"), (&plain, CODE)] {
        let other = PlaceOrderRequest { preview_token: token.clone(), ..with(&ann, "r-1", code, &of) };
        let refused = cell.place(other).await.expect_err("not this order's");
        assert_shop(&refused, Code::FailedPrecondition, "PREVIEW_MISMATCH");
    }
    for id in ["autumn", "half"] {
        let Campaign { campaign_id, title, start_time_ms, end_time_ms, .. } = campaign(id);
        let (request_id, state) = (format!("pause-{id}"), CampaignState::Paused.into());
        let pause = UpdateCampaignRequest { request_id, campaign_id, title, start_time_ms, end_time_ms, state };
        let paused = cell.campaign().update_campaign(pause).await.expect("updated").into_inner().campaign;
        counts(&cell, paused.expect("as written").version).await;
    }
    let refused = preview(&cell, &with(&ann, "", CODE, &of)).await.expect_err("paused");
    assert_shop(&refused, Code::FailedPrecondition, "COUPON_PAUSED");
    let held = PlaceOrderRequest { preview_token: token, ..with(&ann, "r-1", CODE, &of) };
    let placed = cell.place(held.clone()).await.expect("placed").order.expect("there");
    assert_eq!(placed.total.as_ref().map(|money| money.minor_units), Some(850), "the previewed price");
    assert_eq!(cell.place(held).await.expect("replayed").order, Some(placed), "a repetition redeems nothing");
    audit::assert_sound(&cell.database()).await;
}

async fn next(stream: &mut tonic::Streaming<WatchRedemptionsResponse>) -> Result<WatchRedemptionsResponse, Status> {
    let message =
        tokio::time::timeout(Duration::from_secs(10), stream.message()).await.expect("it shows that it lives");
    message.map(|message| message.expect("it ends with an error only"))
}

/// Redemptions are told as they come, are continued, and move with their user.
#[tokio::test(flavor = "multi_thread")]
async fn redemptions_are_streamed_and_move_with_their_user() {
    let (old, new) = (Cell::start().await, Setup::of("sh-1").start().await);
    old.sell("tea", 1_000, 10).await;
    for n in 0..2 {
        run(&old, &old, coupon(&format!("half-{n}"), &format!("{CODE}-{n}"))).await;
    }
    let ann = old.rich(10_000).await;
    let place = async |n: u8| {
        let placed = old.place(with(&ann, &format!("r-{n}"), &format!("{CODE}-{n}"), &[("tea", 1)])).await;
        placed.expect("placed");
    };
    let watch = async |cell: &Cell, user_epoch: u64, position: u64| {
        let asked = WatchRedemptionsRequest { user_id: ann.clone(), user_epoch, position };
        server(cell).watch_redemptions(asked).await.map(tonic::Response::into_inner)
    };
    let one = |n: u8| vec![Redemption { campaign_id: format!("half-{n}"), redeemed_count: 1 }];
    let mut stream = watch(&old, 0, 0).await.expect("at home");
    let first = next(&mut stream).await.expect("a snapshot");
    assert_eq!((first.snapshot_start, first.snapshot_end, first.redemptions), (true, true, vec![]));
    place(0).await;
    let told = next(&mut stream).await.expect("a change");
    assert_eq!((told.snapshot_start, told.position, told.redemptions), (false, first.position + 1, one(0)));
    drop(stream);
    place(1).await;
    let mut stream = watch(&old, told.user_epoch, told.position).await.expect("at home");
    let continued = next(&mut stream).await.expect("a change");
    assert_eq!((continued.snapshot_start, continued.redemptions), (false, one(1)), "no snapshot");

    let participants: Vec<Arc<dyn UserData>> =
        cell_services::services().iter().flat_map(|service| service.participants()).collect();
    let participants: Participants = participants.into();
    let (from, to) = (&old.running.context().db, &new.running.context().db);
    steps::carry_all(1, from, to, &UserKey::from_text(&ann).expect("a key"), 0, &participants).await;
    let moved = loop {
        if let Err(status) = next(&mut stream).await {
            break status;
        }
    };
    assert_mesh(&moved, Code::Unavailable, "MOVED");
    let mut stream = watch(&new, continued.user_epoch, continued.position).await.expect("at home");
    let there = next(&mut stream).await.expect("a snapshot");
    assert_eq!((there.user_epoch, there.snapshot_start, there.snapshot_end), (1, true, true));
    assert_eq!(there.redemptions, [one(0), one(1)].concat());
}
