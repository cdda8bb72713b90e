//! A client that keeps the catalogue, by the stream of a cell's copy.

use crate::cell::{Cell, Setup, eventually, product};
use client_sdk::{
    Call, Feed, FeedMessage, Global, GlobalFeed, Idempotency, Key, KeyError, LocalLogic, LocalSettings, Mesh, Method,
    MethodPolicy, Piece, Position, Reply, Scope, Slot, Source, Verdict,
};
use shop_client::catalog::catalog_replication_service_methods::Watch;
use shop_proto::catalog_v1::{
    CreateProductRequest, GetProductRequest, GetProductResponse, Product, UpdateProductRequest, WatchRequest,
    WatchResponse,
};
use std::{collections::BTreeMap, net::SocketAddr, time::Duration};
use tokio::time::{Instant, sleep};

/// Less than the default, so that the test need not be long: just above the heartbeats of writer and copy together.
const LEASE: Duration = Duration::from_secs(7);

struct Catalogue;

impl Feed for Catalogue {
    type Stream = Watch;
    type Item = Product;
    type Snapshot = BTreeMap<String, Product>;

    fn read(message: WatchResponse) -> Result<FeedMessage<Product>, String> {
        let WatchResponse { change, incarnation, sequence, elapsed_ms, complete, behind_ms } = message;
        let told = match change {
            None => FeedMessage::heartbeat(elapsed_ms, Position { incarnation, sequence }),
            Some(change) => {
                let position = Position { incarnation: change.incarnation, sequence: change.sequence };
                let (snapshot_start, snapshot_end) = (change.snapshot_start, change.snapshot_end);
                let piece = Piece { position, snapshot_start, snapshot_end, items: change.products };
                FeedMessage::piece(elapsed_ms, piece).complete(complete)
            }
        };
        Ok(told.behind_ms(behind_ms))
    }

    fn apply(products: &mut BTreeMap<String, Product>, product: Product) {
        products.insert(product.sku.clone(), product);
    }

    fn bytes(products: &BTreeMap<String, Product>) -> usize {
        products.len() * 256
    }
}

impl GlobalFeed for Catalogue {
    fn subscribe(from: Option<Position>) -> WatchRequest {
        let Position { incarnation, sequence } = from.unwrap_or_default();
        WatchRequest { incarnation, sequence }
    }
}

/// `GetProduct`, of which the shop's own policy says nothing about local answers.
struct GetProduct;

impl Method for GetProduct {
    type Request = GetProductRequest;
    type Response = GetProductResponse;

    const POLICY: MethodPolicy = MethodPolicy::new("/shop.catalog.v1.CatalogService/GetProduct", Scope::Replicated)
        .side_effects(Idempotency::NoSideEffects)
        .local_logic("products", 1);

    fn key(_: &GetProductRequest) -> Result<Key<'_>, KeyError> {
        Ok(None)
    }
}

struct Inside;

impl LocalLogic for Inside {
    type Method = GetProduct;
    type Data = Global<Catalogue>;

    const NAME: &'static str = "products";
    const MAJOR: u32 = 1;
    const MINOR: u32 = 0;
    const USES_TIME: bool = false;

    fn eval(
        &self,
        products: &BTreeMap<String, Product>,
        _: i64,
        asked: &GetProductRequest,
    ) -> Verdict<GetProductResponse> {
        products
            .get(&asked.sku)
            .map_or(Verdict::Unsure, |product| Verdict::Answer(GetProductResponse { product: Some(product.clone()) }))
    }
}

struct Client {
    mesh: Mesh,
    slot: Slot<GetProduct>,
}

impl Client {
    /// A cell's services stand in for its router: calls go through them as through a seed.
    fn of(cell: SocketAddr) -> Self {
        let mut settings = LocalSettings::default();
        settings.lease = LEASE;
        let mesh = Mesh::builder().seeds([cell.to_string()]).local_logic(Inside).expect("named by the policy");
        let mesh = mesh.local_settings(settings).build().expect("a mesh");
        let slot = Slot::of(&mesh);
        Self { mesh, slot }
    }

    async fn get(&self, sku: &str) -> Reply<GetProductResponse> {
        Call::new(&self.mesh, &self.slot, GetProductRequest { sku: sku.into() }).await.expect("answered")
    }

    /// The title, if it was known inside.
    async fn inside(&self, sku: &str) -> Option<String> {
        let Reply { value, source, .. } = self.get(sku).await;
        value.product.map(|product| product.title).filter(|_| matches!(source, Source::Local { stale: false, .. }))
    }
}

async fn create(cell: &Cell, sku: &str) {
    let create = CreateProductRequest { request_id: format!("create-{sku}"), product: Some(product(sku, 100, 5)) };
    cell.catalog().create_product(create).await.expect("created");
}

async fn rename(cell: &Cell, sku: &str, title: &str) {
    let product = Product { title: title.into(), allotments: vec![], ..product(sku, 100, 0) };
    let update = UpdateProductRequest { request_id: format!("{sku}-{title}"), product: Some(product) };
    cell.catalog().update_product(update).await.expect("updated");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_knows_the_catalogue_as_long_as_its_cell_and_the_writer_vouch_for_it() {
    let global = Setup::of("bj-1").start().await;
    global.ready().await;
    // More than fit in one piece.
    for n in 0..40 {
        create(&global, &format!("p-{n:02}")).await;
    }
    let front = global.running.bound().front;
    let copy = Setup { router: Some(front), ..Setup::of("sh-1") }.start().await;
    copy.ready().await;
    let client = Client::of(copy.running.bound().front);
    let knows = async |sku: &str, title: &str| client.inside(sku).await.as_deref() == Some(title);
    eventually("the snapshot is in", async || knows("p-39", "Title of p-39").await).await;
    rename(&global, "p-07", "renamed").await;
    eventually("the change is in", async || knows("p-07", "renamed").await).await;

    // Nothing changes: heartbeats alone keep the answers inside, well beyond the lease.
    let still = Instant::now();
    while still.elapsed() < LEASE + Duration::from_secs(3) {
        assert!(knows("p-07", "renamed").await, "after {:?}", still.elapsed());
        sleep(Duration::from_millis(100)).await;
    }

    // The writer is gone: the copy serves on, but nobody vouches for it.
    let (dir, _own) = global.stop().await;
    let gone = Instant::now();
    eventually("the lease is over", async || client.inside("p-07").await.is_none()).await;
    assert!(gone.elapsed() < LEASE + Duration::from_secs(1), "{:?}", gone.elapsed());
    let told = client.get("p-07").await;
    assert_eq!(told.value.product.expect("from the copy").title, "renamed");

    // It comes back with a later history, which begins with a snapshot.
    let global = Setup { front: Some(front), dir: Some(dir), ..Setup::of("bj-1") }.start().await;
    global.ready().await;
    rename(&global, "p-08", "later").await;
    eventually("the new history is in", async || knows("p-08", "later").await).await;
    assert!(knows("p-07", "renamed").await);
}
