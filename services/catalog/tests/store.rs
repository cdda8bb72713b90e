//! The store alone, on a database in a temporary folder.

use catalog::{
    Catalogue, Error,
    domain::{Allotment, Product},
    store::{self, POSITION},
};
use cell_map::CellId;
use replication::{Batch, Position, ReplicationError, Standing};
use service_runtime::{SetFault, apply};
use shop_logic::{Currency, Money, Sku, Title};
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

fn product(sku: &str, version: u64) -> Product {
    Product {
        sku: Sku::new(sku).expect("valid"),
        title: Title::new(&format!("Title of {sku}")).expect("valid"),
        unit_price: Money::new(Currency::CNY, 100),
        version,
        allotments: vec![Allotment { cell: CellId::new("bj-1").expect("a name"), quantity: 5 }],
    }
}

async fn create(db: &Db, sku: &str) -> Product {
    let new = product(sku, 0);
    run(db, move |tx| Box::pin(async move { store::create(tx, &new).await })).await
}

async fn skus_after(db: &Db, sequence: u64) -> Vec<String> {
    let products = run(db, move |tx| Box::pin(async move { store::after(tx.conn(), sequence, 100).await })).await;
    products.into_iter().map(|product| product.sku.to_string()).collect()
}

async fn standing(db: &Db) -> Option<Standing> {
    run(db, |tx| Box::pin(async move { Ok(POSITION.standing(tx).await?) })).await
}

#[tokio::test]
async fn changes_are_read_in_the_order_of_their_last_change() {
    let (db, _dir) = open().await;
    for sku in ["a", "b", "c"] {
        create(&db, sku).await;
    }
    let again = product("a", 0);
    let changed = run(&db, move |tx| Box::pin(async move { store::update(tx, &again).await })).await;
    assert_eq!(changed.version, 4);
    assert_eq!(skus_after(&db, 0).await, ["b", "c", "a"]);
    assert_eq!(skus_after(&db, 2).await, ["c", "a"], "who knows sequence 2 needs these");
    assert_eq!(skus_after(&db, 4).await, [""; 0]);
}

#[tokio::test]
async fn a_copy_that_takes_over_starts_a_later_history() {
    let (db, _dir) = open().await;
    assert_eq!(standing(&db).await, None);
    let batch = Batch {
        base: Position::default(),
        position: Position { incarnation: 7_000, sequence: 9 },
        replace: true,
        items: vec![product("a", 3), product("b", 9)],
    };
    run(&db, move |tx| Box::pin(async move { apply::<Catalogue>(tx, &batch).await })).await;
    assert!(!standing(&db).await.expect("applied").writer);

    assert_eq!(create(&db, "c").await.version, 10, "sequences go on");
    let Standing { position, writer } = standing(&db).await.expect("written");
    assert!(writer && position.incarnation > 7_000, "{position:?}");
}

#[tokio::test]
async fn a_batch_that_does_not_fit_changes_nothing() {
    let (db, _dir) = open().await;
    let at = |sequence| Position { incarnation: 7_000, sequence };
    let apply = async |base, sequence, replace| {
        let batch = Batch { base: at(base), position: at(sequence), replace, items: vec![product("a", sequence)] };
        db.global(move |tx| Box::pin(async move { apply::<Catalogue>(tx, &batch).await })).await
    };
    apply(0, 5, true).await.expect("the first snapshot");
    apply(5, 6, false).await.expect("the next change");
    for (base, sequence, replace) in [(5, 6, false), (5, 7, false), (0, 5, true)] {
        let refused = apply(base, sequence, replace).await;
        assert!(matches!(refused, Err(TxError::Business(Error::Set(SetFault::Replication(_))))), "{refused:?}");
    }
    assert_eq!(standing(&db).await, Some(Standing { position: at(6), writer: false }));

    create(&db, "b").await;
    let refused = apply(6, 9, true).await;
    assert!(
        matches!(refused, Err(TxError::Business(Error::Set(SetFault::Replication(ReplicationError::WrittenHere))))),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_snapshot_replaces_everything() {
    let (db, _dir) = open().await;
    for (sequence, skus) in [(2, ["a", "b"]), (4, ["b", "c"])] {
        let items = skus.iter().zip(sequence - 1..).map(|(sku, version)| product(sku, version)).collect();
        let batch =
            Batch { base: Position::default(), position: Position { incarnation: 1, sequence }, replace: true, items };
        run(&db, move |tx| Box::pin(async move { apply::<Catalogue>(tx, &batch).await })).await;
    }
    let listed = run(&db, |tx| Box::pin(async move { store::list(tx.conn(), "", 100).await })).await;
    assert_eq!(listed, [product("b", 3), product("c", 4)]);
}
