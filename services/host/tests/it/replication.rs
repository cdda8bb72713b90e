use crate::{
    audit,
    cell::{Cell, Setup, assert_mesh, assert_shop, eventually, order, product},
};
use shop_proto::catalog_v1::{
    GetProductRequest, ListProductsRequest, Product, SubscribeRequest, UpdateProductRequest, WatchRequest,
    catalog_replication_service_client::CatalogReplicationServiceClient,
};
use std::{
    any::Any,
    time::{Duration, Instant},
};
use tonic::{Code, transport::Channel};

async fn products(cell: &Cell) -> Vec<Product> {
    let asked = ListProductsRequest { page_size: 100, ..Default::default() };
    cell.catalog().list_products(asked).await.map(|page| page.into_inner().products).unwrap_or_default()
}

async fn title(cell: &Cell, sku: &str) -> String {
    let found = cell.catalog().get_product(GetProductRequest { sku: sku.into() }).await;
    found.ok().and_then(|found| found.into_inner().product).map(|product| product.title).unwrap_or_default()
}

async fn rename(cell: &Cell, sku: &str, title: &str) {
    let product = Product { title: title.into(), allotments: vec![], ..product(sku, 100, 0) };
    let update =
        UpdateProductRequest { request_id: format!("{sku}-{title}").replace(' ', "-"), product: Some(product) };
    cell.catalog().update_product(update).await.expect("updated");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_takes_the_snapshot_follows_changes_and_continues() {
    // More products than fit in one piece.
    let global = Setup { seed: true, ..Setup::of("bj-1") }.start().await;
    global.ready().await;
    for n in 0..60 {
        global.sell(&format!("extra-{n:02}"), 100, 5).await;
    }
    let router = Some(global.running.bound().front);
    let copy = Setup { router, ..Setup::of("sh-1") }.start().await;
    copy.ready().await;
    assert_eq!(products(&copy).await.len(), 80, "ready means the whole snapshot is there");
    assert_eq!(products(&copy).await, products(&global).await);

    rename(&global, "extra-07", "changed while followed").await;
    eventually("the change arrives", async || title(&copy, "extra-07").await == "changed while followed").await;

    let (dir, _own) = copy.stop().await;
    rename(&global, "extra-08", "changed meanwhile").await;
    let copy = Setup { router, dir: Some(dir), ..Setup::of("sh-1") }.start().await;
    copy.ready().await;
    eventually("the copy continues", async || title(&copy, "extra-08").await == "changed meanwhile").await;
    assert_eq!(products(&copy).await, products(&global).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_history_replaces_the_old_and_takes_back_no_sale() {
    let global = Setup::of("bj-1").start().await;
    global.ready().await;
    global.sell("tea", 100, 5).await;
    global.sell("cup", 100, 5).await;
    let front = global.running.bound().front;
    let copy = Setup { router: Some(front), ..Setup::of("sh-1") }.start().await;
    copy.ready().await;
    copy.sells("tea", 5).await;
    let ann = copy.rich(1_000).await;
    copy.place(order(&ann, "r-1", &[("tea", 4), ("cup", 1)])).await.expect("placed");

    // The global cell loses its database and begins anew, with fewer units of tea and no cup.
    let _lost = global.stop().await;
    assert_eq!(products(&copy).await.len(), 2, "the copy serves on while the global cell is away");
    let global = Setup { front: Some(front), ..Setup::of("bj-1") }.start().await;
    global.ready().await;
    global.sell("tea", 100, 3).await;
    copy.sells("tea", 0).await;
    eventually("the new catalogue replaces the old", async || products(&copy).await == products(&global).await).await;
    let refused = copy.place(order(&ann, "r-2", &[("cup", 1)])).await.expect_err("no longer in the catalogue");
    assert_shop(&refused, Code::NotFound, "UNKNOWN_SKU");
    audit::assert_sound(&copy.database()).await;
    let sold = audit::number(&copy.database(), "SELECT sold FROM trade_product WHERE sku = 'tea'").await;
    assert_eq!(sold, 4, "what was sold stays sold");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_begins_with_a_snapshot_and_shows_that_it_lives() {
    let cell = Cell::start().await;
    cell.sell("tea", 100, 5).await;
    let mut client = CatalogReplicationServiceClient::new(cell.front.clone());
    let opened = Instant::now();
    let mut stream = client.watch(WatchRequest::default()).await.expect("opened").into_inner();
    let message = stream.message().await.expect("alive").expect("not ended");
    assert!(message.complete && message.behind_ms == 0, "from the writer: {message:?}");
    let snapshot = message.change.expect("a snapshot");
    assert_eq!((message.incarnation, message.sequence), (snapshot.incarnation, snapshot.sequence));
    assert!(snapshot.snapshot_start && snapshot.snapshot_end);
    assert_eq!((snapshot.sequence, snapshot.products.len()), (1, 1));
    let heartbeat = tokio::time::timeout(Duration::from_secs(5), stream.message()).await.expect("within 5 s");
    let heartbeat = heartbeat.expect("alive").expect("not ended");
    assert_eq!((heartbeat.change, heartbeat.complete), (None, true));
    assert_eq!((heartbeat.incarnation, heartbeat.sequence), (snapshot.incarnation, snapshot.sequence));
    assert!(heartbeat.elapsed_ms > 0 && u128::from(heartbeat.elapsed_ms) <= opened.elapsed().as_millis() + 1);

    let from = WatchRequest { incarnation: snapshot.incarnation, sequence: snapshot.sequence };
    let mut continued = client.watch(from).await.expect("opened").into_inner();
    cell.sell("cup", 100, 5).await;
    let change = continued.message().await.expect("alive").expect("not ended").change.expect("a change");
    assert!(!change.snapshot_start && !change.snapshot_end, "no snapshot where the position can be continued");
    assert_eq!(change.products.iter().map(|product| &*product.sku).collect::<Vec<_>>(), ["cup"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_number_of_clients_keeps_a_cell_from_its_copy() {
    let global = Cell::start().await;
    global.sell("tea", 100, 5).await;
    let front = global.running.bound().front;
    let mut streams = Vec::new();
    let mut client = CatalogReplicationServiceClient::new(global.front.clone());
    let refused = loop {
        if streams.len() % 50 == 0 {
            // A connection carries 100 streams.
            let channel = Channel::from_shared(format!("http://{front}")).expect("an address is a URL").connect_lazy();
            client = CatalogReplicationServiceClient::new(channel);
        }
        let opened: Result<Box<dyn Any + Send>, _> = if streams.len() % 2 == 0 {
            client.watch(WatchRequest::default()).await.map(|stream| Box::new(stream) as _)
        } else {
            client.subscribe(SubscribeRequest::default()).await.map(|stream| Box::new(stream) as _)
        };
        match opened {
            Ok(stream) => streams.push(stream),
            Err(refused) => break refused,
        }
    };
    assert_mesh(&refused, Code::ResourceExhausted, "RATE_LIMITED");
    println!("figure: streams of clients N={}", streams.len());

    let copy = Setup { router: Some(front), ..Setup::of("sh-1") }.start().await;
    copy.ready().await;
    assert_eq!(products(&copy).await, products(&global).await);
}
