//! The store alone, on a database in a temporary folder.

use campaign::{
    CampaignSet, Error,
    store::{self, Change},
};
use cell_map::CellId;
use replication::{Batch, Position};
use service_runtime::apply;
use shop_logic::{
    Campaign, CampaignId, CouponCode, Currency, Money, Sku, Title,
    campaign::{BasisPoints, Benefit, Coupon, Kind, ProductDiscount, SpendDiscount, Terms, Window},
};
use storage::{BoxFuture, Db, DbConfig, Tx, TxError, WorkError};
use tempfile::TempDir;

async fn open() -> (Db, TempDir) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let config = DbConfig::new(dir.path().join("cell.db"), CellId::new("bj-1").expect("a name"));
    (Db::open(config, store::MIGRATIONS).await.expect("opens"), dir)
}

async fn run<T: Send + 'static>(
    db: &Db,
    work: impl for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T, WorkError<Error>>> + Send + 'static,
) -> T {
    db.global(work).await.unwrap_or_else(|error: TxError<Error>| panic!("{error}"))
}

fn yuan(minor_units: i64) -> Money {
    Money::new(Currency::CNY, minor_units)
}

fn points(points: i32) -> BasisPoints {
    BasisPoints::new(points).expect("valid")
}

fn of_products(skus: &[&str]) -> Kind {
    let skus = skus.iter().map(|sku| Sku::new(sku).expect("valid")).collect();
    Kind::Product(ProductDiscount::new(skus, points(1_500)).expect("valid"))
}

fn coupon(code: &str, benefit: Benefit) -> Kind {
    Kind::Coupon(Coupon::new(CouponCode::new(code).expect("valid"), 2, yuan(100), benefit).expect("valid"))
}

fn campaign(id: &str, version: u64, window: (i64, i64), kind: Kind) -> Campaign {
    let window = Window::new(window.0, window.1).expect("valid");
    let terms = Terms { id: CampaignId::new(id).expect("valid"), window, paused: false, kind };
    Campaign { terms, title: Title::new(&format!("Title of {id}")).expect("valid"), version }
}

async fn create(db: &Db, campaign: Campaign) -> Result<Campaign, TxError<Error>> {
    db.global(move |tx| Box::pin(async move { store::create(tx, &campaign).await })).await
}

async fn list(db: &Db, at_ms: Option<i64>) -> Vec<Campaign> {
    run(db, move |tx| Box::pin(async move { store::list(tx.conn(), "", at_ms, 100).await })).await
}

async fn ids_of_product(db: &Db, sku: &str, at_ms: i64) -> Vec<String> {
    let sku = Sku::new(sku).expect("valid");
    let read = run(db, move |tx| Box::pin(async move { store::of_product(tx.conn(), &sku, at_ms, 100).await }));
    read.await.into_iter().map(|campaign| campaign.terms.id.to_string()).collect()
}

#[tokio::test]
async fn campaigns_of_each_kind_are_read_as_they_were_written() {
    let (db, _dir) = open().await;
    let kinds = [
        of_products(&["tea", "cup"]),
        Kind::Spend(SpendDiscount::new(yuan(100), yuan(99)).expect("valid")),
        coupon("HALF-1", Benefit::Amount(yuan(50))),
        coupon("HALF-2", Benefit::Share(points(5_000))),
    ];
    let mut written = Vec::new();
    for (id, kind) in ["a", "b", "c", "d"].into_iter().zip(kinds) {
        written.push(create(&db, campaign(id, 0, (-5, 9), kind)).await.expect("created"));
    }
    assert_eq!(written.iter().map(|campaign| campaign.version).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!(list(&db, None).await, written);

    let taken = create(&db, campaign("e", 0, (0, 9), coupon("HALF-1", Benefit::Amount(yuan(1))))).await;
    assert!(matches!(taken, Err(TxError::Business(Error::CodeTaken { owner, .. })) if owner == "c"));
    let there = create(&db, campaign("a", 0, (0, 9), of_products(&["tea"]))).await;
    assert!(matches!(there, Err(TxError::Business(Error::AlreadyExists(_)))));
}

#[tokio::test]
async fn only_campaigns_in_force_touch_a_product() {
    let (db, _dir) = open().await;
    create(&db, campaign("a", 0, (10, 20), of_products(&["tea", "cup"]))).await.expect("created");
    create(&db, campaign("b", 0, (15, 30), of_products(&["tea"]))).await.expect("created");
    create(&db, campaign("c", 0, (10, 30), coupon("TEA-1", Benefit::Share(points(1))))).await.expect("created");
    for (at_ms, expected) in [(9, &[][..]), (10, &["a"]), (15, &["a", "b"]), (19, &["a", "b"]), (20, &["b"]), (30, &[])]
    {
        assert_eq!(ids_of_product(&db, "tea", at_ms).await, expected, "at {at_ms}");
        let mut listed = list(&db, Some(at_ms)).await;
        listed.retain(|campaign| matches!(campaign.terms.kind, Kind::Product(_)));
        assert_eq!(listed.iter().map(|campaign| campaign.terms.id.as_str()).collect::<Vec<_>>(), expected);
    }
    assert_eq!(ids_of_product(&db, "cup", 15).await, ["a"]);

    let change = |paused| Change {
        id: CampaignId::new("a").expect("valid"),
        title: Title::new("Longer").expect("valid"),
        window: Window::new(10, 40).expect("valid"),
        paused,
    };
    for (paused, expected) in [(false, &["a"][..]), (true, &[])] {
        let change = change(paused);
        let changed = run(&db, move |tx| Box::pin(async move { store::update(tx, &change).await })).await;
        assert_eq!((changed.title.to_string().as_str(), changed.terms.paused), ("Longer", paused));
        assert_eq!(changed.terms.kind, of_products(&["tea", "cup"]), "what it does stays");
        assert_eq!(ids_of_product(&db, "tea", 35).await, expected);
    }
}

#[tokio::test]
async fn a_snapshot_replaces_everything() {
    let (db, _dir) = open().await;
    // In the new history another campaign has the code and another touches the product.
    let old = [
        campaign("a", 1, (0, 9), of_products(&["tea"])),
        campaign("b", 2, (0, 9), coupon("CODE-1", Benefit::Share(points(1)))),
    ];
    let new = [
        campaign("b", 3, (0, 9), of_products(&["cup"])),
        campaign("c", 4, (0, 9), coupon("CODE-1", Benefit::Share(points(1)))),
    ];
    for (sequence, items) in [(2, old), (4, new.clone())] {
        let position = Position { incarnation: sequence, sequence };
        let batch = Batch { base: Position::default(), position, replace: true, items: items.to_vec() };
        run(&db, move |tx| Box::pin(async move { apply::<CampaignSet>(tx, &batch).await })).await;
    }
    assert_eq!(list(&db, None).await, new);
    assert_eq!(ids_of_product(&db, "tea", 5).await, [""; 0]);
    assert_eq!(ids_of_product(&db, "cup", 5).await, ["b"]);
}
