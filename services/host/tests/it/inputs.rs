use crate::{
    campaigns::{campaign, coupon},
    cell::{Cell, assert_mesh, order, product},
};
use shop_proto::{
    campaign_v1::{
        self as campaigns, BatchGetCampaignsRequest, Campaign, CreateCampaignRequest, GetCampaignRequest,
        ListCampaignsForProductRequest, ListCampaignsRequest, ProductDiscount, SpendDiscount, UpdateCampaignRequest,
        campaign::Kind, coupon::Benefit,
    },
    catalog_v1::{
        self as catalog, BatchGetProductsRequest, CreateProductRequest, GetProductRequest, ListProductsRequest,
        Product, UpdateProductRequest,
    },
    follow_v1::{BatchFollowRequest, BatchIsFollowingRequest, FollowRequest, ListFollowingRequest, UnfollowRequest},
    member_v1::{
        BatchGetMembersRequest, DeliverEventRequest, GetMemberRequest, ListActivitiesRequest, RegisterRequest,
    },
    trade_v1::{
        BatchGetOrdersRequest, BatchGetStockRequest, GetOrderRequest, ListOrdersRequest, Money, OrderLine,
        PlaceOrderRequest, TopUpRequest,
    },
};
use tonic::{Code, Response, Status};
use tonic_types::StatusExt as _;

/// Asserts that a request is refused before any work, and that the answer names the field.
#[track_caller]
fn assert_bad<T: std::fmt::Debug>(field: &str, answer: Result<Response<T>, Status>) {
    let refused = answer.expect_err(field);
    assert_mesh(&refused, Code::InvalidArgument, "BAD_REQUEST");
    let violations = refused.get_details_bad_request().expect("field violations").field_violations;
    let fields: Vec<&str> = violations.iter().map(|violation| &*violation.field).collect();
    assert!(fields.contains(&field), "{field} is not among {fields:?}: {refused:?}");
    assert!(violations.iter().all(|violation| !violation.description.is_empty()));
}

/// Ids as attackers write them: empty, long, NUL, SQL, LIKE, look-alikes.
fn bad_ids() -> Vec<String> {
    let long = "x".repeat(4096);
    ["", &long, "a\0b", "' OR 1=1 --", "%_", "аdmin", "a\nb"].map(str::to_owned).to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_orders_are_refused() {
    let cell = Cell::start().await;
    cell.sell("tea", 100, 5).await;
    let ann = cell.rich(1_000).await;
    let good = order(&ann, "r-1", &[("tea", 1)]);
    let place = async |change: &dyn Fn(&mut PlaceOrderRequest)| {
        let mut order = good.clone();
        change(&mut order);
        cell.trade().place_order(order).await
    };
    for bad in ["", "0", "a\0b", &"x".repeat(4096)] {
        assert_bad("user_id", place(&|order| order.user_id = bad.into()).await);
    }
    for bad in bad_ids().into_iter().filter(|id| id != "%_") {
        assert_bad("request_id", place(&|order| order.request_id = bad.clone()).await);
    }
    assert_bad("request_id", place(&|order| order.request_id = "x".repeat(256)).await);
    for bad in bad_ids() {
        assert_bad("lines[0].sku", place(&|order| order.lines[0].sku = bad.clone()).await);
    }
    for bad in [0, -1, 1001, i32::MIN, i32::MAX] {
        assert_bad("lines[0].quantity", place(&|order| order.lines[0].quantity = bad).await);
    }
    assert_bad("lines", place(&|order| order.lines.clear()).await);
    assert_bad("lines", place(&|order| order.lines.push(order.lines[0].clone())).await);
    let line = |n: usize| OrderLine { sku: format!("p{n}"), quantity: 1 };
    assert_bad("lines", place(&|order| order.lines = (0..51).map(line).collect()).await);
    cell.place(order(&ann, &"x".repeat(255), &[("tea", 1)])).await.expect("255 bytes are allowed");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_money_is_refused() {
    let cell = Cell::start().await;
    let user_id = cell.register().await;
    let top_up = async |amount: Option<(&str, i64)>| {
        let amount = amount.map(|(code, minor_units)| Money { currency_code: code.into(), minor_units });
        let request = TopUpRequest { user_id: user_id.clone(), request_id: "t-1".into(), amount };
        cell.trade().top_up(request).await
    };
    for bad in [0, -1, 100_000_001, i64::MIN, i64::MAX] {
        assert_bad("amount.minor_units", top_up(Some(("CNY", bad))).await);
    }
    for bad in ["", "cny", "USD", "XXX", "CNY\0"] {
        assert_bad("amount.currency_code", top_up(Some((bad, 100))).await);
    }
    assert_bad("amount", top_up(None).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_reads_are_refused() {
    let cell = Cell::start().await;
    let ann = cell.register().await;
    let user_id = || ann.clone();
    let mut trade = cell.trade();
    for bad in bad_ids() {
        let get = GetOrderRequest { user_id: user_id(), order_id: bad.clone() };
        assert_bad("order_id", trade.get_order(get).await);
        let batch = BatchGetOrdersRequest { user_id: user_id(), order_ids: vec!["ok".into(), bad.clone()] };
        assert_bad("order_ids[1]", trade.batch_get_orders(batch).await);
        let batch = BatchGetStockRequest { skus: vec!["ok".into(), bad.clone()] };
        assert_bad("skus[1]", cell.stock().batch_get_stock(batch).await);
        assert_bad("sku", cell.catalog().get_product(GetProductRequest { sku: bad.clone() }).await);
        let batch = BatchGetProductsRequest { skus: vec![bad] };
        assert_bad("skus[0]", cell.catalog().batch_get_products(batch).await);
    }
    for count in [0, 101] {
        let ids = || vec!["x".to_owned(); count];
        let batch = BatchGetOrdersRequest { user_id: user_id(), order_ids: ids() };
        assert_bad("order_ids", trade.batch_get_orders(batch).await);
        assert_bad("skus", cell.stock().batch_get_stock(BatchGetStockRequest { skus: ids() }).await);
        assert_bad("skus", cell.catalog().batch_get_products(BatchGetProductsRequest { skus: ids() }).await);
        assert_bad("user_ids", cell.member().batch_get_members(BatchGetMembersRequest { user_ids: ids() }).await);
    }
    let list = |page_size, page_token: &str| ListOrdersRequest {
        user_id: user_id(),
        page_size,
        page_token: page_token.into(),
    };
    assert_bad("page_size", trade.list_orders(list(-1, "")).await);
    assert_bad("page_token", trade.list_orders(list(0, "garbage")).await);
    let list = ListProductsRequest { page_size: 0, page_token: "x".repeat(10_000) };
    assert_bad("page_token", cell.catalog().list_products(list).await);
    let list = ListActivitiesRequest { user_id: user_id(), page_size: -5, page_token: String::new() };
    assert_bad("page_size", cell.activity().list_activities(list).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_members_and_events_are_refused() {
    let cell = Cell::start().await;
    let register = |request_id: &str, display_name: &str| RegisterRequest {
        request_id: request_id.into(),
        display_name: display_name.into(),
    };
    let mut member = cell.member();
    for bad in ["a b", "a\0", &"x".repeat(256)] {
        assert_bad("request_id", member.register(register(bad, "")).await);
    }
    for bad in ["a\r\nb", "a\0", "\u{1b}[31m", "\u{202e}", &"名".repeat(101)] {
        assert_bad("display_name", member.register(register("", bad)).await);
    }
    for bad in ["", "0", "a\0b", &"x".repeat(257)] {
        assert_bad("user_id", member.get_member(GetMemberRequest { user_id: bad.into() }).await);
    }

    let user_id = cell.register().await;
    let deliver = async |change: &dyn Fn(&mut DeliverEventRequest)| {
        let (event_id, kind) = ("e-1".into(), "order.placed".into());
        let mut event = DeliverEventRequest { user_id: user_id.clone(), event_id, kind, ..Default::default() };
        change(&mut event);
        cell.activity().deliver_event(event).await
    };
    assert_bad("event_id", deliver(&|event| event.event_id.clear()).await);
    assert_bad("kind", deliver(&|event| event.kind = "Order Placed".into()).await);
    assert_bad("subject", deliver(&|event| event.subject = "x".repeat(256)).await);
    assert_bad("event_time_ms", deliver(&|event| event.event_time_ms = -1).await);
    assert_bad("user_epoch", deliver(&|event| event.user_epoch = u64::MAX).await);
    assert_bad("sequence", deliver(&|event| event.sequence = u64::MAX).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_follows_are_refused() {
    let cell = Cell::start().await;
    let ann = cell.register().await;
    let mut follow = cell.follow();
    let (long, user_id) = ("x".repeat(257), || ann.clone());
    for bad in ["", "a\0b", "a\nb", "\u{202e}", &long] {
        let edge = FollowRequest { user_id: user_id(), target_id: bad.into() };
        assert_bad("target_id", follow.follow(edge).await);
        let edge = UnfollowRequest { user_id: user_id(), target_id: bad.into() };
        assert_bad("target_id", follow.unfollow(edge).await);
        let edges = BatchFollowRequest { user_id: user_id(), target_ids: vec!["bob".into(), bad.into()] };
        assert_bad("target_ids[1]", follow.batch_follow(edges).await);
    }
    let oneself = FollowRequest { user_id: user_id(), target_id: user_id() };
    assert_bad("target_id", follow.follow(oneself).await);
    let oneself = BatchFollowRequest { user_id: user_id(), target_ids: vec![user_id()] };
    assert_bad("target_ids[0]", follow.batch_follow(oneself).await);
    for count in [0, 1_001] {
        let ids = || (0..count).map(|n| n.to_string()).collect();
        let edges = BatchFollowRequest { user_id: user_id(), target_ids: ids() };
        assert_bad("target_ids", follow.batch_follow(edges).await);
        let edges = BatchIsFollowingRequest { user_id: user_id(), target_ids: ids() };
        assert_bad("target_ids", follow.batch_is_following(edges).await);
    }
    let list = |page_size, page_token: &str| ListFollowingRequest {
        user_id: user_id(),
        page_size,
        page_token: page_token.into(),
    };
    assert_bad("page_size", follow.list_following(list(-1, "")).await);
    assert_bad("page_token", follow.list_following(list(0, "garbage")).await);
    let edge = FollowRequest { user_id: user_id(), target_id: "x".repeat(256) };
    assert!(follow.follow(edge).await.expect("256 bytes are allowed").into_inner().changed);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_products_are_refused() {
    let cell = Cell::start().await;
    let create = async |change: &dyn Fn(&mut Product)| {
        let mut product = product("tea", 100, 5);
        change(&mut product);
        let request = CreateProductRequest { request_id: "c-1".into(), product: Some(product) };
        cell.catalog().create_product(request).await
    };
    let price = |code: &str, minor_units| Some(catalog::Money { currency_code: code.into(), minor_units });
    for bad in bad_ids() {
        assert_bad("product.sku", create(&|product| product.sku = bad.clone()).await);
    }
    for bad in ["", "a\nb", &"x".repeat(201)] {
        assert_bad("product.title", create(&|product| product.title = bad.into()).await);
    }
    for bad in [0, -1, i64::MIN] {
        assert_bad("product.unit_price.minor_units", create(&|product| product.unit_price = price("CNY", bad)).await);
    }
    assert_bad("product.unit_price.currency_code", create(&|product| product.unit_price = price("YUAN", 1)).await);
    assert_bad("product.unit_price", create(&|product| product.unit_price = None).await);
    assert_bad("product.allotments[1].quantity", create(&|product| product.allotments[1].quantity = -1).await);
    assert_bad("product.allotments[0].cell", create(&|product| product.allotments[0].cell = "BJ 1".into()).await);
    let doubled = create(&|product| product.allotments[1] = product.allotments[0].clone()).await;
    assert_bad("product.allotments[1].cell", doubled);
    let missing = CreateProductRequest { request_id: "c-1".into(), product: None };
    assert_bad("product", cell.catalog().create_product(missing).await);
    let nameless = CreateProductRequest { request_id: String::new(), product: Some(product("tea", 100, 5)) };
    assert_bad("request_id", cell.catalog().create_product(nameless).await);
    let shares = UpdateProductRequest { request_id: "u-1".into(), product: Some(product("tea", 100, 5)) };
    assert_bad("product.allotments", cell.catalog().update_product(shares).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_campaigns_are_refused() {
    let cell = Cell::start().await;
    let create = async |change: &dyn Fn(&mut Campaign)| {
        let mut campaign = campaign("autumn");
        change(&mut campaign);
        let request = CreateCampaignRequest { request_id: "c-1".into(), campaign: Some(campaign) };
        cell.campaign().create_campaign(request).await
    };
    for bad in bad_ids() {
        assert_bad("campaign.campaign_id", create(&|campaign| campaign.campaign_id = bad.clone()).await);
    }
    for bad in ["", "a\nb", &"x".repeat(201)] {
        assert_bad("campaign.title", create(&|campaign| campaign.title = bad.into()).await);
    }
    for bad in [0, -1, i64::MIN] {
        assert_bad("campaign.end_time_ms", create(&|campaign| campaign.end_time_ms = bad).await);
    }
    for bad in [0, 3, i32::MIN] {
        assert_bad("campaign.state", create(&|campaign| campaign.state = bad).await);
    }
    assert_bad("campaign.kind", create(&|campaign| campaign.kind = None).await);

    let products = async |skus: Vec<String>, basis_points_off| {
        let kind = Some(Kind::ProductDiscount(ProductDiscount { skus, basis_points_off }));
        create(&|campaign| campaign.kind = kind.clone()).await
    };
    for bad in [0, -1, 10_000, i32::MAX] {
        assert_bad("campaign.product_discount.basis_points_off", products(vec!["tea".into()], bad).await);
    }
    for skus in [vec![], (0..101).map(|n| format!("p{n}")).collect(), vec!["tea".into(), "tea".into()]] {
        assert_bad("campaign.product_discount.skus", products(skus, 1).await);
    }
    for bad in bad_ids() {
        assert_bad("campaign.product_discount.skus[1]", products(vec!["tea".into(), bad], 1).await);
    }

    let money = |code: &str, minor_units| Some(campaigns::Money { currency_code: code.into(), minor_units });
    let spend = async |threshold, amount_off| {
        let kind = Some(Kind::SpendDiscount(SpendDiscount { threshold, amount_off }));
        create(&|campaign| campaign.kind = kind.clone()).await
    };
    assert_bad("campaign.spend_discount.threshold", spend(None, money("CNY", 1)).await);
    assert_bad("campaign.spend_discount.threshold.minor_units", spend(money("CNY", 0), money("CNY", 1)).await);
    for amount in [money("CNY", 100), money("CNY", 101), None] {
        assert_bad("campaign.spend_discount.amount_off", spend(money("CNY", 100), amount).await);
    }
    assert_bad("campaign.spend_discount.amount_off.currency_code", spend(money("CNY", 9), money("XXX", 1)).await);

    let with_coupon = async |change: &dyn Fn(&mut campaigns::Coupon)| {
        create(&|campaign| {
            campaign.kind = coupon("autumn", "AUTUMN-1").kind;
            if let Some(Kind::Coupon(coupon)) = &mut campaign.kind {
                change(coupon);
            }
        })
        .await
    };
    for bad in ["", "abc", "lower-case", "A B C D", "АВС-1", &"X".repeat(33)] {
        assert_bad("campaign.coupon.code", with_coupon(&|coupon| coupon.code = bad.into()).await);
    }
    for bad in [0, -1, 101] {
        assert_bad("campaign.coupon.per_user_limit", with_coupon(&|coupon| coupon.per_user_limit = bad).await);
    }
    assert_bad("campaign.coupon.threshold", with_coupon(&|coupon| coupon.threshold = None).await);
    assert_bad("campaign.coupon.benefit", with_coupon(&|coupon| coupon.benefit = None).await);
    let all = with_coupon(&|coupon| coupon.benefit = Some(Benefit::BasisPointsOff(10_000))).await;
    assert_bad("campaign.coupon.basis_points_off", all);

    let missing = CreateCampaignRequest { request_id: "c-1".into(), campaign: None };
    assert_bad("campaign", cell.campaign().create_campaign(missing).await);
    let nameless = CreateCampaignRequest { request_id: String::new(), campaign: Some(campaign("autumn")) };
    assert_bad("request_id", cell.campaign().create_campaign(nameless).await);
    for field in ["request_id", "campaign_id", "title", "end_time_ms", "state"] {
        assert_bad(field, cell.campaign().update_campaign(UpdateCampaignRequest::default()).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_reads_of_campaigns_are_refused() {
    let cell = Cell::start().await;
    let mut client = cell.campaign();
    for bad in bad_ids() {
        assert_bad("campaign_id", client.get_campaign(GetCampaignRequest { campaign_id: bad.clone() }).await);
        let batch = BatchGetCampaignsRequest { campaign_ids: vec!["ok".into(), bad.clone()] };
        assert_bad("campaign_ids[1]", client.batch_get_campaigns(batch).await);
        let of_product = ListCampaignsForProductRequest { sku: bad };
        assert_bad("sku", client.list_campaigns_for_product(of_product).await);
    }
    for count in [0, 101] {
        let batch = BatchGetCampaignsRequest { campaign_ids: vec!["x".to_owned(); count] };
        assert_bad("campaign_ids", client.batch_get_campaigns(batch).await);
    }
    let list = |page_size, page_token: &str| ListCampaignsRequest {
        page_size,
        page_token: page_token.into(),
        active_only: false,
    };
    assert_bad("page_size", client.list_campaigns(list(-1, "")).await);
    assert_bad("page_token", client.list_campaigns(list(0, "garbage")).await);
}
