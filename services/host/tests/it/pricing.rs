//! What orders cost: the server's word, and the same inside the client.

use crate::{
    audit,
    campaigns::{campaign, coupon},
    cell::{Cell, Setup, assert_shop, eventually, info, order},
};
use cell_map::UserKey;
use client_sdk::{LocalSettings, Mesh, Reply, Source};
use rand::{Rng, RngExt as _, SeedableRng as _, rngs::StdRng};
use shop_client::{CouponCheck, PreviewCheck, PriceQuote, trade::PricingServiceClient as Inside};
use shop_logic::{Asked, Campaigns, CouponCode, Lines, PreviewKey, PreviewKeys, PreviewTerms};
use shop_proto::{
    campaign_v1::{
        Campaign, CampaignState, CreateCampaignRequest, Money, ProductDiscount, SpendDiscount, UpdateCampaignRequest,
        campaign::Kind, coupon::Benefit,
    },
    trade_v1::{
        CheckCouponRequest, CheckCouponResponse, CheckPreviewRequest, CouponReason, OrderLine, PlaceOrderRequest,
        PreviewOrderRequest, PreviewStanding, QuotePriceRequest, QuotePriceResponse, Redemption,
        WatchRedemptionsRequest, WatchRedemptionsResponse, pricing_service_client::PricingServiceClient,
    },
};
use std::{sync::Arc, time::Duration};
use storage::{Participants, UserData, conformance::steps};
use tonic::{Code, Status, transport::Channel};

const CODE: &str = "HALF-OFF";

/// The server's own answers.
fn server(cell: &Cell) -> PricingServiceClient<Channel> {
    PricingServiceClient::new(cell.front.clone())
}

/// A client with the shop's logic; of so many answers one is compared with the server's, 0: none.
fn mesh_comparing(cell: &Cell, shadow_every: u32) -> Mesh {
    let mut settings = LocalSettings::default();
    settings.shadow_every = shadow_every;
    let builder = Mesh::builder().seeds([cell.running.bound().front.to_string()]).local_settings(settings);
    let builder = builder.local_logic(PriceQuote).and_then(|builder| builder.local_logic(CouponCheck));
    builder.and_then(|builder| builder.local_logic(PreviewCheck)).and_then(|b| b.build()).expect("built")
}

/// A client that compares nothing behind its caller's back.
fn mesh(cell: &Cell) -> Mesh {
    mesh_comparing(cell, 0)
}

fn is_inside<T>(reply: &Reply<T>) -> bool {
    matches!(reply.source, Source::Local { stale: false, .. })
}

/// Runs a campaign and waits until trade counts it here.
async fn run(global: &Cell, cell: &Cell, campaign: Campaign) {
    let request_id = format!("create-{}", campaign.campaign_id);
    let create = CreateCampaignRequest { request_id, campaign: Some(campaign) };
    let created = global.campaign().create_campaign(create).await.expect("created").into_inner();
    counts(cell, created.campaign.expect("as written").version).await;
}

/// Waits until trade counts campaigns of a version.
async fn counts(cell: &Cell, version: u64) {
    eventually("trade has the campaigns", async || {
        let sql = "SELECT coalesce(max(sequence), 0) FROM trade_campaign_position";
        let sequence = audit::number(&cell.database(), sql).await;
        u64::try_from(sequence).expect("positive") >= version
    })
    .await;
}

fn lines(of: &[(&str, i32)]) -> Vec<OrderLine> {
    of.iter().map(|(sku, quantity)| OrderLine { sku: (*sku).into(), quantity: *quantity }).collect()
}

fn ask(of: &[(&str, i32)], code: &str) -> QuotePriceRequest {
    QuotePriceRequest { lines: lines(of), coupon_code: code.into() }
}

fn may_use(user_id: &str, code: &str, of: &[(&str, i32)]) -> CheckCouponRequest {
    CheckCouponRequest { user_id: user_id.into(), coupon_code: code.into(), lines: lines(of) }
}

fn with(user_id: &str, request_id: &str, code: &str, of: &[(&str, i32)]) -> PlaceOrderRequest {
    PlaceOrderRequest { coupon_code: code.into(), ..order(user_id, request_id, of) }
}

fn total(quote: &QuotePriceResponse) -> i64 {
    quote.total.as_ref().expect("there").minor_units
}

async fn preview(cell: &Cell, of: &PlaceOrderRequest) -> Result<(String, i64), Status> {
    let PlaceOrderRequest { user_id, lines, coupon_code, .. } = of.clone();
    let seen = cell.trade().preview_order(PreviewOrderRequest { user_id, lines, coupon_code }).await?.into_inner();
    Ok((seen.preview_token, seen.total.expect("there").minor_units))
}

/// Random campaigns: with those that are over, to come or halted, and one coupon for each code.
fn random_campaign(rng: &mut impl Rng, n: usize) -> Campaign {
    let fen = |minor_units| Some(Money { currency_code: "CNY".into(), minor_units });
    let kind = match rng.random_range(0..3) {
        0 => {
            let mut skus: Vec<_> = (0..12).filter(|_| rng.random_bool(0.3)).map(|sku| format!("sku-{sku}")).collect();
            skus.push("sku-x".into());
            Kind::ProductDiscount(ProductDiscount { skus, basis_points_off: rng.random_range(1..10_000) })
        }
        1 => {
            let threshold = rng.random_range(2..200_000);
            let amount_off = fen(rng.random_range(1..threshold));
            Kind::SpendDiscount(SpendDiscount { threshold: fen(threshold), amount_off })
        }
        _ => {
            let threshold = rng.random_range(2..50_000);
            let amount = Benefit::AmountOff(fen(rng.random_range(1..threshold)).expect("there"));
            let share = Benefit::BasisPointsOff(rng.random_range(1..10_000));
            Kind::Coupon(shop_proto::campaign_v1::Coupon {
                code: format!("CODE-{n}"),
                per_user_limit: rng.random_range(1..4),
                threshold: fen(threshold),
                benefit: Some(if rng.random_bool(0.5) { amount } else { share }),
            })
        }
    };
    let (now, hour) = (1_000 * i64::from(u32::try_from(seconds()).expect("this century")), 3_600_000);
    let (start_time_ms, end_time_ms) = match rng.random_range(0..8) {
        0 => (now - 2 * hour, now - hour),
        1 => (now + hour, now + 2 * hour),
        _ => (now - hour, now + hour),
    };
    let state = if rng.random_bool(0.1) { CampaignState::Paused } else { CampaignState::Active };
    let kind = Some(kind);
    Campaign { start_time_ms, end_time_ms, state: state.into(), kind, ..campaign(&format!("campaign-{n:02}")) }
}

fn seconds() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs()
}

fn random_lines(rng: &mut impl Rng) -> Vec<OrderLine> {
    let mut lines: Vec<_> = (0..12).filter(|_| rng.random_bool(0.25)).collect();
    lines.push(12);
    let line = |sku| OrderLine { sku: format!("sku-{sku}"), quantity: rng.random_range(1..30) };
    lines.into_iter().map(line).collect()
}

/// No call once the snapshots are in; each answer is what the server says, who reads tables.
#[tokio::test(flavor = "multi_thread")]
async fn prices_and_coupons_are_answered_inside_and_as_the_server_would() {
    let seed = std::env::var("CELLMESH_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(rand::random);
    println!("prices_and_coupons_are_answered_inside_and_as_the_server_would: CELLMESH_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let cell = Cell::start().await;
    for n in 0..13 {
        cell.sell(&format!("sku-{n}"), rng.random_range(1..20_000), 1_000_000).await;
    }
    let some = 40;
    for n in 0..some {
        run(&cell, &cell, random_campaign(&mut rng, n)).await;
    }
    let mut users = Vec::new();
    for _ in 0..4 {
        users.push(cell.rich(100_000_000).await);
    }
    // What they used before the client knew of them, as far as they may.
    for n in 0..60 {
        let code = format!("CODE-{}", rng.random_range(0..some));
        let user_id = &users[rng.random_range(0..users.len())];
        let placing =
            PlaceOrderRequest { lines: random_lines(&mut rng), ..with(user_id, &format!("r-{n}"), &code, &[]) };
        if let Err(refused) = cell.place(placing).await {
            assert!(matches!(refused.code(), Code::FailedPrecondition | Code::NotFound), "{refused:?}");
        }
    }
    let (mesh, mut server) = (mesh(&cell), server(&cell));
    let inside = Inside::new(&mesh);
    for user_id in &users {
        eventually("coupons are checked inside", async || {
            is_inside(&inside.check_coupon(may_use(user_id, CODE, &[("sku-12", 1)])).await.expect("answered"))
        })
        .await;
    }
    let before = mesh.stats().wire().attempts;
    let (mut quotes, mut coupons, mut eligible) = (0, 0, 0);
    let cases = if std::env::var_os("CELLMESH_SOAK").is_some() { 100_000 } else { 3_000 };
    for _ in 0..cases {
        let lines = random_lines(&mut rng);
        let code = format!("CODE-{}", rng.random_range(0..some));
        if rng.random_bool(0.5) {
            let coupon_code = if rng.random_bool(0.3) { String::new() } else { code };
            let asked = QuotePriceRequest { lines, coupon_code };
            let here = inside.quote_price(asked.clone()).await.expect("answered");
            let there = server.quote_price(asked.clone()).await.expect("answered").into_inner();
            assert!(is_inside(&here), "{:?}", here.source);
            assert_eq!(here.value, there, "{asked:?}");
            quotes += 1;
        } else {
            let user_id = users[rng.random_range(0..users.len())].clone();
            let asked = CheckCouponRequest { user_id, coupon_code: code, lines };
            let here = inside.check_coupon(asked.clone()).await.expect("answered");
            let there = server.check_coupon(asked.clone()).await.expect("answered").into_inner();
            assert!(is_inside(&here), "{:?}", here.source);
            assert_eq!(here.value, there, "{asked:?}");
            (coupons, eligible) = (coupons + 1, eligible + i32::from(there.eligible));
        }
    }
    assert_eq!(mesh.stats().wire().attempts, before, "no call was made");
    assert!(eligible > 0 && eligible < coupons, "{eligible} of {coupons}");
    println!("figure: prices inside N={cases} quotes={quotes} coupons={coupons} eligible={eligible}");

    // What the server refuses is asked of it.
    for asked in [ask(&[("none", 1)], ""), ask(&[("sku-1", 0)], ""), ask(&[], ""), ask(&[("sku-1", 1)], "low")] {
        let here = inside.quote_price(asked.clone()).await.expect_err("refused");
        let there = server.quote_price(asked).await.expect_err("refused");
        assert_eq!(format!("{:?}", here.code()), format!("{:?}", there.code()), "{there:?}");
    }
    audit::assert_sound(&cell.database()).await;
}

/// The client's own check finds answers equal, versions included, also while campaigns and products change.
#[tokio::test(flavor = "multi_thread")]
async fn answers_inside_can_be_compared_with_the_servers_while_data_changes() {
    let cell = Cell::start().await;
    cell.sell("tea", 1_000, 10).await;
    run(&cell, &cell, coupon("half", CODE)).await;
    let ann = cell.rich(10_000).await;
    let mesh = mesh_comparing(&cell, 1);
    let inside = Inside::new(&mesh);
    for n in 0..6 {
        let (quoted, checked) = (ask(&[("tea", 1)], CODE), may_use(&ann, CODE, &[("tea", 1)]));
        eventually("answers inside", async || {
            let quote = inside.quote_price(quoted.clone()).await.expect("answered");
            is_inside(&quote) && is_inside(&inside.check_coupon(checked.clone()).await.expect("answered"))
        })
        .await;
        match n {
            2 => run(&cell, &cell, campaign("autumn")).await,
            3 => cell.sell("cup", 500, 10).await,
            4 => drop(cell.place(with(&ann, "r-1", CODE, &[("tea", 1)])).await.expect("placed")),
            _ => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
    eventually("answers were compared", async || {
        mesh.local_stats().logics.iter().filter(|logic| logic.name != "preview").all(|logic| logic.compared > 2)
    })
    .await;
    for logic in mesh.local_stats().logics {
        println!(
            "figure: {} N={} compared={} unsettled={}",
            logic.name, logic.answers, logic.compared, logic.unsettled
        );
        assert_eq!(logic.differed, 0, "{logic:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_written_in_the_global_cell_changes_prices_inside_clients_of_others() {
    let global = Cell::start().await;
    let copy = Setup { router: Some(global.running.bound().front), ..Setup::of("sh-1") }.start().await;
    copy.ready().await;
    global.sell("tea", 1_000, 10).await;
    copy.sells("tea", 10).await;
    let mesh = mesh(&copy);
    let inside = Inside::new(&mesh);
    let costs = async |fen: i64| {
        eventually(&format!("{fen} inside"), async || {
            let quote = inside.quote_price(ask(&[("tea", 1)], "")).await;
            quote.is_ok_and(|quote| is_inside(&quote) && total(&quote.value) == fen)
        })
        .await;
    };
    costs(1_000).await;
    run(&global, &copy, campaign("autumn")).await;
    costs(850).await;
    let Campaign { campaign_id, title, start_time_ms, end_time_ms, .. } = campaign("autumn");
    let (request_id, state) = ("pause".into(), CampaignState::Paused.into());
    let pause = UpdateCampaignRequest { request_id, campaign_id, title, start_time_ms, end_time_ms, state };
    global.campaign().update_campaign(pause).await.expect("updated");
    costs(1_000).await;
}

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

/// Tokens of all kinds, inside and at the server; what is forged is found out where an order is placed.
#[tokio::test(flavor = "multi_thread")]
async fn a_preview_is_checked_inside_by_what_stands_in_its_token() {
    let cell = Cell::start().await;
    cell.sell("tea", 1_000, 10).await;
    let (ann, bob) = (cell.rich(10_000).await, cell.rich(10_000).await);
    let (token, _) = preview(&cell, &order(&ann, "", &[("tea", 2)])).await.expect("previewed");
    let now_ms = 1_000 * i64::try_from(seconds()).expect("fits");
    let forged = |expire_time_ms| {
        let sku = shop_logic::Sku::new("tea").expect("valid");
        let line = shop_logic::Line { sku, quantity: shop_logic::Quantity::new(2).expect("valid") };
        let lines = Lines::new(vec![line]).expect("valid");
        let asked = Asked { user: ann.as_bytes(), lines: &lines, coupon: None::<&CouponCode> };
        let one = shop_logic::Money::new(shop_logic::Currency::CNY, 1);
        let none = None::<shop_logic::campaign::Redeeming<'_, fn(&shop_logic::CampaignId) -> u32>>;
        let quote = shop_logic::campaign::quote(&lines, |_| Some(one), &Campaigns::default(), none, 0).expect("small");
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
    crate::cell::assert_mesh(&moved, Code::Unavailable, "MOVED");
    let mut stream = watch(&new, continued.user_epoch, continued.position).await.expect("at home");
    let there = next(&mut stream).await.expect("a snapshot");
    assert_eq!((there.user_epoch, there.snapshot_start, there.snapshot_end), (1, true, true));
    assert_eq!(there.redemptions, [one(0), one(1)].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_questions_are_refused_with_their_fields() {
    use tonic_types::StatusExt as _;
    let cell = Cell::start().await;
    let fields = |status: Status| {
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
        let bad = status.get_details_bad_request().expect("fields");
        bad.field_violations.into_iter().map(|violation| violation.field).collect::<Vec<_>>()
    };
    let refused = server(&cell).quote_price(ask(&[("T", 0)], "low")).await.expect_err("refused");
    assert_eq!(fields(refused), ["lines[0].sku", "lines[0].quantity", "coupon_code"]);
    let refused = server(&cell).check_coupon(may_use("", "", &[])).await.expect_err("refused");
    assert_eq!(fields(refused), ["user_id", "lines", "coupon_code"]);
    let refused = server(&cell).watch_redemptions(WatchRedemptionsRequest::default()).await.expect_err("refused");
    assert_eq!(fields(refused), ["user_id"]);
    let ann = cell.register().await;
    let refused = cell.place(with(&ann, "r-1", "abc", &[("tea", 1)])).await.expect_err("refused");
    assert_eq!(fields(refused), ["coupon_code"]);
}
