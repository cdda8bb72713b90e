use crate::cell::{Cell, as_peer, assert_mesh, info, key_of, order};
use shop_proto::{
    follow_v1::{
        BatchFollowRequest, BatchIsFollowingRequest, FollowRequest, IsFollowingRequest, ListFollowingRequest,
        UnfollowRequest, WatchFollowingRequest,
    },
    member_v1::{
        DeliverEventRequest, GetMemberRequest, ListActivitiesRequest, member_service_client::MemberServiceClient,
    },
    trade_v1::{
        BatchGetOrdersRequest, CheckCouponRequest, GetOrderRequest, GetWalletRequest, ListOrdersRequest, Money,
        PreviewOrderRequest, TopUpRequest, WatchRedemptionsRequest, pricing_service_client::PricingServiceClient,
        trade_service_client::TradeServiceClient,
    },
};
use tonic::{Code, Status};

/// What a cell says of a user who was never here.
#[track_caller]
fn assert_elsewhere<T: std::fmt::Debug>(method: &str, answer: Result<T, Status>) {
    let refused = answer.expect_err(method);
    assert_mesh(&refused, Code::FailedPrecondition, "WRONG_CELL");
    assert_eq!(info(&refused, "owner").as_deref(), Some("sh-1"), "{method}");
    assert_eq!(info(&refused, "user_epoch").as_deref(), Some("0"), "{method}");
    assert_eq!(info(&refused, "bucket_epoch").as_deref(), Some("1"), "{method}");
    let unprocessed = refused.metadata().get("cellmesh-unprocessed");
    assert_eq!(unprocessed.map(|value| value.as_bytes()), Some(&b"1"[..]), "{method}: nothing was done");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_method_refuses_users_of_other_cells() {
    let cell = Cell::start().await;
    cell.sell("tea", 100, 5).await;
    let user_id = key_of(&cell.map, "sh-1");
    let user = || user_id.clone();
    let (mut member, mut activity, mut trade) = (cell.member(), cell.activity(), cell.trade());

    assert_elsewhere("GetMember", member.get_member(GetMemberRequest { user_id: user() }).await);
    let event = DeliverEventRequest {
        user_id: user(),
        event_id: "e-1".into(),
        kind: "order.placed".into(),
        ..Default::default()
    };
    assert_elsewhere("DeliverEvent", activity.deliver_event(event).await);
    let list = ListActivitiesRequest { user_id: user(), ..Default::default() };
    assert_elsewhere("ListActivities", activity.list_activities(list).await);

    let (mut follow, target_id) = (cell.follow(), "bob".to_owned());
    let target = || target_id.clone();
    let edge = FollowRequest { user_id: user(), target_id: target() };
    assert_elsewhere("Follow", follow.follow(edge).await);
    let edge = UnfollowRequest { user_id: user(), target_id: target() };
    assert_elsewhere("Unfollow", follow.unfollow(edge).await);
    let edges = BatchFollowRequest { user_id: user(), target_ids: vec![target()] };
    assert_elsewhere("BatchFollow", follow.batch_follow(edges).await);
    let edge = IsFollowingRequest { user_id: user(), target_id: target() };
    assert_elsewhere("IsFollowing", follow.is_following(edge).await);
    let edges = BatchIsFollowingRequest { user_id: user(), target_ids: vec![target()] };
    assert_elsewhere("BatchIsFollowing", follow.batch_is_following(edges).await);
    let list = ListFollowingRequest { user_id: user(), ..Default::default() };
    assert_elsewhere("ListFollowing", follow.list_following(list).await);
    let watch = WatchFollowingRequest { user_id: user(), ..Default::default() };
    assert_elsewhere("WatchFollowing", follow.watch_following(watch).await);

    let placing = order(&user_id, "r-1", &[("tea", 1)]);
    let preview = PreviewOrderRequest { user_id: user(), lines: placing.lines.clone(), ..Default::default() };
    assert_elsewhere("PreviewOrder", trade.preview_order(preview).await);
    let check = CheckCouponRequest { user_id: user(), coupon_code: "CODE".into(), lines: placing.lines.clone() };
    let mut pricing = PricingServiceClient::new(cell.front.clone());
    assert_elsewhere("CheckCoupon", pricing.check_coupon(check).await);
    let watch = WatchRedemptionsRequest { user_id: user(), ..Default::default() };
    assert_elsewhere("WatchRedemptions", pricing.watch_redemptions(watch).await);
    assert_elsewhere("PlaceOrder", trade.place_order(placing).await);
    let get = GetOrderRequest { user_id: user(), order_id: "o-1".into() };
    assert_elsewhere("GetOrder", trade.get_order(get).await);
    let batch = BatchGetOrdersRequest { user_id: user(), order_ids: vec!["o-1".into()] };
    assert_elsewhere("BatchGetOrders", trade.batch_get_orders(batch).await);
    assert_elsewhere(
        "ListOrders",
        trade.list_orders(ListOrdersRequest { user_id: user(), ..Default::default() }).await,
    );
    let amount = Some(Money { currency_code: "CNY".into(), minor_units: 1 });
    let top_up = TopUpRequest { user_id: user(), request_id: "t-1".into(), amount };
    assert_elsewhere("TopUp", trade.top_up(top_up).await);
    assert_elsewhere("GetWallet", trade.get_wallet(GetWalletRequest { user_id: user() }).await);
    cell.sells("tea", 5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_knows_newer_epochs_is_told_to_wait() {
    let cell = Cell::start().await;
    let ann = cell.register().await;
    let mut member = MemberServiceClient::new(cell.peer.clone());
    let ask = |user_epoch| as_peer(GetMemberRequest { user_id: ann.clone() }, user_epoch, 1);
    member.get_member(ask(0)).await.expect("at home");
    let refused = member.get_member(ask(7)).await.expect_err("this cell knows less than the caller");
    assert_mesh(&refused, Code::Unavailable, "MOVING");
    let mut trade = TradeServiceClient::new(cell.peer.clone());
    let wallet = as_peer(GetWalletRequest { user_id: ann.clone() }, 7, 1);
    assert_mesh(&trade.get_wallet(wallet).await.expect_err("likewise"), Code::Unavailable, "MOVING");

    let mut forged = as_peer(GetMemberRequest { user_id: ann.clone() }, 7, 1);
    forged.metadata_mut().remove("cellmesh-peer-token");
    cell.member().get_member(forged).await.expect("epochs of anyone else are not believed");
}
