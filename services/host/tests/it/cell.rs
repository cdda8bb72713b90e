//! A cell in this process: all services on free ports and a database in a temporary folder.

use cell_map::{Cell as MapCell, CellId, CellMap, Incarnation, MapDraft, RegionId};
use map_store::MapWatch;
use mesh_layers::trust::PeerToken;
use service_runtime::{CancellationToken, Config, Overrides, Running, config::SealKeyConfig, run_with};
use shop_proto::{
    campaign_v1::campaign_service_client::CampaignServiceClient,
    catalog_v1::{Allotment, CreateProductRequest, Product, catalog_service_client::CatalogServiceClient},
    follow_v1::follow_service_client::FollowServiceClient,
    member_v1::{
        RegisterRequest, activity_service_client::ActivityServiceClient, member_service_client::MemberServiceClient,
    },
    trade_v1::{
        BatchGetStockRequest, Money, OrderLine, PlaceOrderRequest, PlaceOrderResponse, TopUpRequest,
        stock_service_client::StockServiceClient, trade_service_client::TradeServiceClient,
    },
};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};
use tempfile::TempDir;
use tonic::{Code, Request, Status, transport::Channel};
use tonic_types::StatusExt as _;

/// What peers show.
pub const TOKEN: &str = "a-token-for-tests-only";

/// What the cells of a mesh seal with: 32 bytes in base64.
const SECRET: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// A map of cells `bj-1` (also global) and `sh-1`.
pub fn two_cells() -> CellMap {
    let mut draft = MapDraft::new(Incarnation::new(1));
    for (cell, region) in [("bj-1", "beijing"), ("sh-1", "shanghai")] {
        let cell = MapCell::new(id(cell), RegionId::new(region).expect("a name"));
        draft.add_cell(cell).expect("a new cell");
    }
    let (bj, sh) = ("beijing".parse().expect("a name"), "shanghai".parse().expect("a name"));
    draft.set_distance(&bj, &sh, Duration::from_millis(30)).expect("known regions");
    draft.spread_buckets().expect("cells have weight").set_global_cell(&id("bj-1"));
    draft.build().expect("a valid map")
}

pub fn id(cell: &str) -> CellId {
    CellId::new(cell).expect("a name")
}

/// A key at home in a cell by the map; nothing is known of it anywhere.
pub fn key_of(map: &CellMap, cell: &str) -> String {
    let mut keys = (0..).map(|n| format!("stranger-{n}"));
    keys.find(|key| map.home(key.as_bytes()).cell.id.as_str() == cell).expect("each cell has buckets")
}

/// How to start a cell.
pub struct Setup {
    pub cell: &'static str,
    pub map: CellMap,
    pub seed: bool,
    /// A cell whose services stand in for this one's router.
    pub router: Option<SocketAddr>,
    pub front: Option<SocketAddr>,
    pub dir: Option<PathBuf>,
}

impl Setup {
    pub fn of(cell: &'static str) -> Self {
        Self { cell, map: two_cells(), seed: false, router: None, front: None, dir: None }
    }

    pub async fn start(self) -> Cell {
        let own = tempfile::tempdir().expect("a temporary folder");
        let dir = self.dir.unwrap_or_else(|| own.path().to_owned());
        let mut config = Config::new(id(self.cell)).with("catalog.seed", self.seed).with("campaign.seed", self.seed);
        config.database.path = dir.join("cell.db");
        config.peer.token = Some(PeerToken::new(TOKEN).expect("a valid token"));
        config.seal.keys = vec![SealKeyConfig { id: 1, secret: SECRET.into() }];
        config.services.router = self.router.map(|address| address.to_string()).unwrap_or_default();
        config.drain.grace_ms = 2_000;
        if let Some(front) = self.front {
            config.listen.front = front;
        }
        let skipped_ms = Arc::new(AtomicI64::new(0));
        let skipped = Arc::clone(&skipped_ms);
        let clock: service_runtime::Clock = Arc::new(move || system_ms() + skipped.load(Ordering::Relaxed));
        let overrides =
            Overrides { map: Some(MapWatch::fixed(self.map.clone())), clock: Some(clock), ..Overrides::default() };
        let running = run_with(cell_services::services(), config, CancellationToken::new(), overrides).await;
        let running = running.expect("the cell starts");
        let bound = running.bound();
        let channel = |address: SocketAddr| {
            Channel::from_shared(format!("http://{address}")).expect("an address is a URL").connect_lazy()
        };
        Cell {
            front: channel(bound.front),
            peer: channel(bound.peer),
            running,
            map: self.map,
            dir,
            skipped_ms,
            _own: own,
        }
    }
}

fn system_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_millis()).expect("fits")
}

/// A running cell.
pub struct Cell {
    pub running: Running,
    pub map: CellMap,
    pub front: Channel,
    pub peer: Channel,
    pub dir: PathBuf,
    skipped_ms: Arc<AtomicI64>,
    _own: TempDir,
}

impl Cell {
    /// `bj-1`, ready.
    pub async fn start() -> Self {
        let cell = Setup::of("bj-1").start().await;
        cell.ready().await;
        cell
    }

    pub async fn ready(&self) {
        let ready = tokio::time::timeout(Duration::from_secs(30), self.running.ready()).await;
        assert!(ready.is_ok(), "not ready, waits for {:?}", self.running.context().readiness.waits_for());
    }

    /// Drains it.
    pub async fn stop(self) -> (PathBuf, TempDir) {
        self.running.shutdown();
        self.running.wait().await.expect("a clean end");
        (self.dir, self._own)
    }

    pub fn database(&self) -> PathBuf {
        database(&self.dir)
    }

    /// Lets the cell's clock run ahead.
    pub fn skip(&self, time: Duration) {
        self.skipped_ms.fetch_add(i64::try_from(time.as_millis()).expect("fits"), Ordering::Relaxed);
    }

    pub fn member(&self) -> MemberServiceClient<Channel> {
        MemberServiceClient::new(self.front.clone())
    }

    pub fn activity(&self) -> ActivityServiceClient<Channel> {
        ActivityServiceClient::new(self.front.clone())
    }

    pub fn follow(&self) -> FollowServiceClient<Channel> {
        FollowServiceClient::new(self.front.clone())
    }

    pub fn trade(&self) -> TradeServiceClient<Channel> {
        TradeServiceClient::new(self.front.clone())
    }

    pub fn stock(&self) -> StockServiceClient<Channel> {
        StockServiceClient::new(self.front.clone())
    }

    pub fn catalog(&self) -> CatalogServiceClient<Channel> {
        CatalogServiceClient::new(self.front.clone())
    }

    pub fn campaign(&self) -> CampaignServiceClient<Channel> {
        CampaignServiceClient::new(self.front.clone())
    }

    /// A new member.
    pub async fn register(&self) -> String {
        let registered = self.member().register(RegisterRequest::default()).await.expect("registered");
        registered.into_inner().user_id
    }

    /// A new member with money.
    pub async fn rich(&self, fen: i64) -> String {
        let user_id = self.register().await;
        let amount = Some(Money { currency_code: "CNY".into(), minor_units: fen });
        let top_up = TopUpRequest { user_id: user_id.clone(), request_id: "first".into(), amount };
        self.trade().top_up(top_up).await.expect("topped up");
        user_id
    }

    /// Puts a product on sale, here and in the other cell, and waits until trade sells it here.
    pub async fn sell(&self, sku: &str, fen: i64, units: i64) {
        let create =
            CreateProductRequest { request_id: format!("create-{sku}"), product: Some(product(sku, fen, units)) };
        self.catalog().create_product(create).await.expect("created");
        self.sells(sku, units).await;
    }

    /// Waits until trade has so many of a product.
    pub async fn sells(&self, sku: &str, units: i64) {
        eventually(&format!("{units} of {sku}"), async || {
            let asked = BatchGetStockRequest { skus: vec![sku.to_owned()] };
            let stock = self.stock().batch_get_stock(asked).await;
            stock.is_ok_and(|stock| stock.into_inner().levels[0].available == units)
        })
        .await;
    }

    pub async fn place(&self, order: PlaceOrderRequest) -> Result<PlaceOrderResponse, Status> {
        self.trade().place_order(order).await.map(tonic::Response::into_inner)
    }
}

pub fn database(dir: &Path) -> PathBuf {
    dir.join("cell.db")
}

/// A product of 1 yuan a unit or so, with a share for each cell.
pub fn product(sku: &str, fen: i64, units: i64) -> Product {
    let share = |cell: &str| Allotment { cell: cell.into(), quantity: units };
    Product {
        sku: sku.into(),
        title: format!("Title of {sku}"),
        unit_price: Some(shop_proto::catalog_v1::Money { currency_code: "CNY".into(), minor_units: fen }),
        version: 0,
        allotments: vec![share("bj-1"), share("sh-1")],
    }
}

/// An order.
pub fn order(user_id: &str, request_id: &str, lines: &[(&str, i32)]) -> PlaceOrderRequest {
    let lines = lines.iter().map(|(sku, quantity)| OrderLine { sku: (*sku).into(), quantity: *quantity }).collect();
    PlaceOrderRequest { user_id: user_id.into(), request_id: request_id.into(), lines, ..Default::default() }
}

/// A request as a peer sends it, with the epochs it asks with.
pub fn as_peer<T>(message: T, user_epoch: u64, bucket_epoch: u64) -> Request<T> {
    let mut request = Request::new(message);
    let metadata = request.metadata_mut();
    metadata.insert("cellmesh-peer-token", TOKEN.parse().expect("ASCII"));
    metadata.insert("cellmesh-user-epoch", user_epoch.into());
    metadata.insert("cellmesh-bucket-epoch", bucket_epoch.into());
    request
}

/// Code, domain and reason of a refusal.
pub fn reason(status: &Status) -> (Code, String, String) {
    let info = status.get_details_error_info().unwrap_or_else(|| panic!("no ErrorInfo in {status:?}"));
    (status.code(), info.domain, info.reason)
}

/// Asserts that a call was refused for this reason of the shop's.
#[track_caller]
pub fn assert_shop(status: &Status, code: Code, expected: &str) {
    assert_eq!(reason(status), (code, "shop.cellmesh".into(), expected.into()), "{status:?}");
}

/// Asserts that a call was refused for this reason of the mesh's.
#[track_caller]
pub fn assert_mesh(status: &Status, code: Code, expected: &str) {
    assert_eq!(reason(status), (code, "cellmesh".into(), expected.into()), "{status:?}");
}

/// A fact of a refusal.
pub fn info(status: &Status, key: &str) -> Option<String> {
    status.get_details_error_info()?.metadata.get(key).cloned()
}

/// Waits until something holds.
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..600 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("not within 30 s: {what}");
}
