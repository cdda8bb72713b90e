//! What orders cost: the server's word, and the same inside the client.

mod coupons;
mod previews;
mod random;

use crate::{
    audit,
    campaigns::{campaign, coupon},
    cell::{Cell, Setup, eventually, order},
};
use client_sdk::{LocalSettings, Mesh, Reply, Source};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use shop_client::{CouponCheck, PreviewCheck, PriceQuote, trade::PricingServiceClient as Inside};
use shop_proto::{
    campaign_v1::{Campaign, CampaignState, CreateCampaignRequest, UpdateCampaignRequest},
    trade_v1::{
        CheckCouponRequest, OrderLine, PlaceOrderRequest, PreviewOrderRequest, QuotePriceRequest, QuotePriceResponse,
        WatchRedemptionsRequest, pricing_service_client::PricingServiceClient,
    },
};
use std::time::Duration;
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
        run(&cell, &cell, random::campaign_number(&mut rng, n)).await;
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
            PlaceOrderRequest { lines: random::order_lines(&mut rng), ..with(user_id, &format!("r-{n}"), &code, &[]) };
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
        let lines = random::order_lines(&mut rng);
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
