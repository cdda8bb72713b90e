use crate::cell::{Cell, Setup, assert_mesh, assert_shop, eventually};
use shop_proto::campaign_v1::{
    self as pb, BatchGetCampaignsRequest, Campaign, CampaignState, Coupon, CreateCampaignRequest, GetCampaignRequest,
    ListCampaignsForProductRequest, ListCampaignsRequest, Money, ProductDiscount, UpdateCampaignRequest, WatchRequest,
    campaign::Kind, campaign_replication_service_client::CampaignReplicationServiceClient, coupon::Benefit,
};
use tonic::{Code, Status};

/// A discount of tea, now.
pub fn campaign(id: &str) -> Campaign {
    let discount = ProductDiscount { skus: vec!["tea".into()], basis_points_off: 1_500 };
    Campaign {
        campaign_id: id.into(),
        title: format!("Title of {id}"),
        start_time_ms: 0,
        end_time_ms: i64::MAX,
        state: CampaignState::Active.into(),
        version: 0,
        kind: Some(Kind::ProductDiscount(discount)),
    }
}

/// Half price for those who know the code.
pub fn coupon(id: &str, code: &str) -> Campaign {
    let threshold = Some(Money { currency_code: "CNY".into(), minor_units: 100 });
    let benefit = Some(Benefit::BasisPointsOff(5_000));
    Campaign {
        kind: Some(Kind::Coupon(Coupon { code: code.into(), per_user_limit: 1, threshold, benefit })),
        ..campaign(id)
    }
}

async fn create(cell: &Cell, campaign: Campaign) -> Result<Campaign, Status> {
    let request_id = format!("create-{}", campaign.campaign_id);
    let created =
        cell.campaign().create_campaign(CreateCampaignRequest { request_id, campaign: Some(campaign) }).await?;
    Ok(created.into_inner().campaign.expect("as written"))
}

fn retitled(id: &str, title: &str, state: CampaignState) -> UpdateCampaignRequest {
    let Campaign { campaign_id, start_time_ms, end_time_ms, .. } = campaign(id);
    let (request_id, title, state) = (format!("{id}-{title}"), title.into(), state.into());
    UpdateCampaignRequest { request_id, campaign_id, title, start_time_ms, end_time_ms, state }
}

async fn retitle(cell: &Cell, id: &str, title: &str) {
    cell.campaign().update_campaign(retitled(id, title, CampaignState::Active)).await.expect("updated");
}

async fn list(cell: &Cell, page_size: i32, active_only: bool) -> Vec<Campaign> {
    let (mut campaigns, mut page_token) = (Vec::new(), String::new());
    loop {
        let asked = ListCampaignsRequest { page_size, page_token, active_only };
        let Ok(page) = cell.campaign().list_campaigns(asked).await.map(tonic::Response::into_inner) else {
            return Vec::new();
        };
        campaigns.extend(page.campaigns);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return campaigns;
        }
    }
}

async fn title(cell: &Cell, id: &str) -> String {
    let found = cell.campaign().get_campaign(GetCampaignRequest { campaign_id: id.into() }).await;
    found.ok().and_then(|found| found.into_inner().campaign).map(|campaign| campaign.title).unwrap_or_default()
}

/// Where a cell's campaigns stand: from the stream's first message.
async fn incarnation(cell: &Cell) -> u64 {
    let mut client = CampaignReplicationServiceClient::new(cell.front.clone());
    let mut stream = client.watch(WatchRequest::default()).await.expect("opened").into_inner();
    stream.message().await.expect("alive").expect("not ended").incarnation
}

#[tokio::test(flavor = "multi_thread")]
async fn the_seed_is_written_once() {
    let cell = Setup { seed: true, ..Setup::of("bj-1") }.start().await;
    cell.ready().await;
    let seeded = list(&cell, 2, true).await;
    let ids: Vec<&str> = seeded.iter().map(|campaign| &*campaign.campaign_id).collect();
    assert_eq!(ids, ["spend-300", "tea-week", "welcome"]);
    let (dir, _own) = cell.stop().await;
    let cell = Setup { seed: true, dir: Some(dir), ..Setup::of("bj-1") }.start().await;
    cell.ready().await;
    assert_eq!(list(&cell, 100, false).await, seeded, "a restart changes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn campaigns_are_written_and_read() {
    let cell = Cell::start().await;
    let written = create(&cell, campaign("autumn")).await.expect("created");
    assert_eq!(written, Campaign { version: 1, ..campaign("autumn") });
    assert_eq!(create(&cell, campaign("autumn")).await.expect("replayed"), written);
    create(&cell, coupon("welcome", "WELCOME-10")).await.expect("created");
    let request = |id: &str, campaign| CreateCampaignRequest { request_id: id.into(), campaign: Some(campaign) };
    let twice = cell.campaign().create_campaign(request("c-2", campaign("autumn"))).await.expect_err("exists");
    assert_mesh(&twice, Code::AlreadyExists, "ALREADY_EXISTS");
    let taken = cell.campaign().create_campaign(request("c-3", coupon("other", "WELCOME-10"))).await;
    assert_mesh(&taken.expect_err("the code is taken"), Code::AlreadyExists, "ALREADY_EXISTS");

    let batch = BatchGetCampaignsRequest { campaign_ids: vec!["none".into(), "autumn".into()] };
    let results = cell.campaign().batch_get_campaigns(batch).await.expect("answered").into_inner().results;
    assert_eq!(results.iter().map(|result| result.code).collect::<Vec<_>>(), [Code::NotFound as i32, 0]);
    assert_eq!(results[1].campaign.as_ref(), Some(&written));

    let of_tea = async || {
        let asked = ListCampaignsForProductRequest { sku: "tea".into() };
        let told = cell.campaign().list_campaigns_for_product(asked).await.expect("listed").into_inner().campaigns;
        told.into_iter().map(|campaign| campaign.campaign_id).collect::<Vec<_>>()
    };
    assert_eq!(of_tea().await, ["autumn"]);
    let pause = retitled("autumn", "Halted", CampaignState::Paused);
    let paused = cell.campaign().update_campaign(pause.clone()).await.expect("updated").into_inner();
    let again = cell.campaign().update_campaign(pause).await.expect("replayed").into_inner();
    assert_eq!(paused, again);
    let state = CampaignState::Paused.into();
    assert_eq!(paused.campaign, Some(Campaign { version: 3, title: "Halted".into(), state, ..written }));
    assert_eq!(of_tea().await, [""; 0]);
    assert_eq!(list(&cell, 1, false).await.len(), 2);
    assert_eq!(list(&cell, 1, true).await.len(), 1, "active ones only");
    let none = cell.campaign().update_campaign(retitled("none", "None", CampaignState::Active)).await;
    assert_mesh(&none.expect_err("not there"), Code::NotFound, "NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_cells_write_no_campaigns_and_serve_none_before_their_first_snapshot() {
    let cell = Setup::of("sh-1").start().await;
    assert_shop(
        &create(&cell, campaign("autumn")).await.expect_err("not global"),
        Code::FailedPrecondition,
        "NOT_GLOBAL_CELL",
    );
    let refused = cell.campaign().list_campaigns(ListCampaignsRequest::default()).await.expect_err("nothing yet");
    assert_mesh(&refused, Code::Unavailable, "UNAVAILABLE");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_token_holds_for_its_own_filter_only() {
    let cell = Cell::start().await;
    for id in ["a", "b"] {
        create(&cell, campaign(id)).await.expect("created");
    }
    let first = ListCampaignsRequest { page_size: 1, ..Default::default() };
    let page_token = cell.campaign().list_campaigns(first).await.expect("listed").into_inner().next_page_token;
    let other = ListCampaignsRequest { page_size: 1, page_token, active_only: true };
    let refused = cell.campaign().list_campaigns(other).await.expect_err("of another list");
    assert_mesh(&refused, Code::InvalidArgument, "BAD_REQUEST");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_campaigns_follows_its_writer_over_absence_restart_and_loss() {
    let global = Setup::of("bj-1").start().await;
    global.ready().await;
    // More than fit in one piece.
    for n in 0..40 {
        create(&global, campaign(&format!("c-{n:02}"))).await.expect("created");
    }
    let front = global.running.bound().front;
    let follower = |dir| Setup { router: Some(front), dir, ..Setup::of("sh-1") };
    let copy = follower(None).start().await;
    copy.ready().await;
    assert_eq!(
        list(&copy, 100, false).await,
        list(&global, 100, false).await,
        "ready means the whole snapshot is there"
    );
    retitle(&global, "c-07", "followed").await;
    eventually("the change arrives", async || title(&copy, "c-07").await == "followed").await;
    let first = incarnation(&global).await;

    // Away while something changes: it goes on from where it stood.
    let (dir, _own) = copy.stop().await;
    retitle(&global, "c-08", "meanwhile").await;
    let copy = follower(Some(dir)).start().await;
    copy.ready().await;
    eventually("the copy continues", async || title(&copy, "c-08").await == "meanwhile").await;
    assert_eq!(incarnation(&copy).await, first);

    // The global cell restarts: its campaigns are the same, its history is a later one.
    let (dir, _own) = global.stop().await;
    assert_eq!(title(&copy, "c-08").await, "meanwhile", "the copy serves on while the global cell is away");
    let global = Setup { front: Some(front), dir: Some(dir), ..Setup::of("bj-1") }.start().await;
    global.ready().await;
    retitle(&global, "c-09", "after-restart").await;
    eventually("the copy follows", async || title(&copy, "c-09").await == "after-restart").await;
    let second = incarnation(&copy).await;
    assert!(second > first && second == incarnation(&global).await);
    assert_eq!(list(&copy, 100, false).await, list(&global, 100, false).await);

    // The global cell loses its database, and begins anew.
    let _lost = global.stop().await;
    let global = Setup { front: Some(front), ..Setup::of("bj-1") }.start().await;
    global.ready().await;
    create(&global, campaign("only")).await.expect("created");
    eventually("the new history replaces the old", async || list(&copy, 100, false).await.len() == 1).await;
    assert_eq!(list(&copy, 100, false).await, list(&global, 100, false).await);
    assert!(incarnation(&copy).await > second);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_says_how_far_it_may_be_behind() {
    let global = Setup::of("bj-1").start().await;
    global.ready().await;
    let front = global.running.bound().front;
    let copy = Setup { router: Some(front), ..Setup::of("sh-1") }.start().await;
    copy.ready().await;
    let mut client = CampaignReplicationServiceClient::new(copy.front.clone());
    let mut stream = client.watch(WatchRequest::default()).await.expect("opened").into_inner();
    let mut next = async || -> pb::WatchResponse { stream.message().await.expect("alive").expect("not ended") };
    assert!(next().await.behind_ms < 10_000, "just copied");
    let (_dir, _own) = global.stop().await;
    let mut last = next().await.behind_ms;
    for _ in 0..2 {
        let behind = next().await.behind_ms;
        assert!(behind > last, "{behind} after {last} ms without a word of the writer");
        last = behind;
    }
}
