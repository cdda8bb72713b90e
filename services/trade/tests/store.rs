//! The store alone, on a database in a temporary folder.

use cell_map::{Cell, CellId, CellMap, Incarnation, MapDraft, OwnerEpochs, UserKey};
use replication::{Batch, Position};
use shop_logic::{Currency, Line, Lines, Money, Quantity, Sku};
use storage::{BoxFuture, Db, DbConfig, FenceRequest, Tx, TxError, WorkError};
use tempfile::TempDir;
use trade::{
    Error, WALLET_MAX,
    domain::{Basis, Order, Placing, Stock, new_id},
    store::{self, Offer},
};

const NOW: i64 = 1_700_000_000_000;

struct Shop {
    db: Db,
    user: UserKey,
    _dir: TempDir,
}

fn sku(text: &str) -> Sku {
    Sku::new(text).expect("valid")
}

fn fen(minor_units: i64) -> Money {
    Money::new(Currency::CNY, minor_units)
}

fn offer(text: &str, price: i64, allotted: i64) -> Offer {
    Offer { sku: sku(text), unit_price: fen(price), version: 1, allotted }
}

fn lines(of: &[(&str, i32)]) -> Lines {
    let line = |&(text, n): &(&str, i32)| Line { sku: sku(text), quantity: Quantity::new(n).expect("valid") };
    Lines::new(of.iter().map(line).collect()).expect("valid")
}

fn one_cell() -> CellMap {
    let (cell, region) = (CellId::new("bj-1").expect("a name"), "beijing".parse().expect("a name"));
    let mut draft = MapDraft::new(Incarnation::new(1));
    draft.add_cell(Cell::new(cell.clone(), region)).expect("a new cell").set_global_cell(&cell);
    draft.spread_buckets().expect("a cell with weight");
    draft.build().expect("valid")
}

impl Shop {
    /// A shop with 10 units of tea at 100 and a user with 1,000.
    async fn open() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let cell = CellId::new("bj-1").expect("a name");
        let config = DbConfig::new(dir.path().join("cell.db"), cell.clone());
        let db = Db::open(config, store::MIGRATIONS).await.expect("opens");
        db.bootstrap_ownership(&one_cell(), &cell).await.expect("bootstrapped");
        let shop = Self { db, user: UserKey::from_text("ann").expect("a key"), _dir: dir };
        shop.catalogue(1, true, vec![offer("tea", 100, 10), offer("cup", 700, 10)]).await;
        shop.top_up(1_000).await.expect("room for it");
        shop
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T, WorkError<Error>>> + Send + 'static,
    ) -> Result<T, Error> {
        let fence = FenceRequest { key: &self.user, asked: OwnerEpochs::ZERO };
        self.db.fenced(&fence, work).await.map_err(|error| match error {
            TxError::Business(error) => error,
            other => panic!("{other}"),
        })
    }

    async fn catalogue(&self, sequence: u64, replace: bool, items: Vec<Offer>) {
        self.apply(sequence - 1, sequence, replace, items).await.expect("applied");
    }

    async fn apply(&self, base: u64, sequence: u64, replace: bool, items: Vec<Offer>) -> Result<(), Error> {
        let at = |sequence| Position { incarnation: 1, sequence };
        let batch = Batch { base: at(base), position: at(sequence), replace, items };
        self.run(move |tx| Box::pin(async move { store::apply(tx, &batch).await })).await
    }

    async fn top_up(&self, minor_units: i64) -> Result<Money, Error> {
        let user = self.user.clone();
        self.run(move |tx| {
            Box::pin(async move { store::top_up(tx.conn(), &user, new_id(NOW), fen(minor_units), NOW).await })
        })
        .await
    }

    async fn place(&self, of: &[(&str, i32)]) -> Result<Order, Error> {
        let (user, lines) = (self.user.clone(), lines(of));
        let (order_id, payment_id) = (new_id(NOW), new_id(NOW));
        let placing = Placing { user, lines, basis: Basis::Present, order_id, payment_id, now_ms: NOW };
        self.run(move |tx| Box::pin(async move { store::place_order(tx, &placing).await })).await
    }

    async fn left(&self, text: &str) -> i64 {
        let skus = vec![sku(text)];
        let stock = self.run(move |tx| Box::pin(async move { store::stock(tx.conn(), &skus).await })).await;
        let [Stock { available, .. }] = stock.expect("counted")[..] else { panic!("one was asked for") };
        available
    }

    async fn balance(&self) -> i64 {
        let user = self.user.clone();
        let balance = self.run(move |tx| Box::pin(async move { store::balance(tx.conn(), &user).await })).await;
        balance.expect("read").minor_units()
    }

    async fn rows(&self, sql: &'static str) -> i64 {
        let count =
            self.run(move |tx| Box::pin(async move { Ok(sqlx::query_scalar(sql).fetch_one(tx.conn()).await?) }));
        count.await.expect("counted")
    }
}

#[tokio::test]
async fn a_placed_order_is_read_back_as_it_was_placed() {
    let shop = Shop::open().await;
    let placed = shop.place(&[("tea", 2), ("cup", 1)]).await.expect("placed");
    assert_eq!(placed.total, fen(900));
    let (user, id) = (shop.user.clone(), shop_logic::OpaqueId::new(&placed.id).expect("valid"));
    let found = shop.run(move |tx| Box::pin(async move { store::find(tx.conn(), &user, &id).await })).await;
    assert_eq!(found.expect("read"), Some(placed));
    assert_eq!((shop.left("tea").await, shop.left("cup").await, shop.balance().await), (8, 9, 100));
}

#[tokio::test]
async fn a_refused_order_moves_neither_stock_nor_money() {
    let shop = Shop::open().await;
    assert!(matches!(shop.place(&[("tea", 4), ("cup", 1)]).await, Err(Error::InsufficientFunds { .. })));
    assert!(matches!(shop.place(&[("cup", 1), ("tea", 11)]).await, Err(Error::SoldOutHere { available: 10, .. })));
    assert!(matches!(shop.place(&[("cup", 1), ("wok", 1)]).await, Err(Error::Price(_))));
    assert_eq!((shop.left("tea").await, shop.left("cup").await, shop.balance().await), (10, 10, 1_000));
    assert_eq!(shop.rows("SELECT COUNT(*) FROM trade_posting WHERE kind = 'order'").await, 0);
    assert_eq!(shop.rows("SELECT COUNT(*) FROM outbox").await, 0);
}

#[tokio::test]
async fn a_change_of_the_catalogue_takes_back_no_sale() {
    let shop = Shop::open().await;
    shop.place(&[("tea", 6)]).await.expect("placed");
    shop.catalogue(2, false, vec![offer("tea", 50, 4)]).await;
    assert_eq!(shop.left("tea").await, 0, "fewer allotted than sold: nothing left, nothing un-sold");
    shop.catalogue(3, false, vec![offer("tea", 50, 9)]).await;
    assert_eq!(shop.left("tea").await, 3);
    assert_eq!(shop.place(&[("tea", 1)]).await.expect("placed").total, fen(50), "at the new price");

    shop.catalogue(4, true, vec![offer("cup", 700, 10)]).await;
    assert!(matches!(shop.place(&[("tea", 1)]).await, Err(Error::Price(_))), "it left the catalogue");
    assert_eq!(shop.rows("SELECT sold FROM trade_product WHERE sku = 'tea'").await, 7);
    shop.catalogue(5, true, vec![offer("tea", 80, 10)]).await;
    assert_eq!(shop.left("tea").await, 3, "it is back with what was sold still sold");
}

#[tokio::test]
async fn a_batch_that_does_not_fit_changes_nothing() {
    let shop = Shop::open().await;
    shop.catalogue(2, false, vec![offer("tea", 50, 10)]).await;
    for (base, sequence, replace) in [(1, 2, false), (1, 3, false), (0, 1, true)] {
        let refused = shop.apply(base, sequence, replace, vec![offer("tea", 90, 10)]).await;
        assert!(matches!(refused, Err(Error::Replication(_))), "{base} {sequence} {replace}: {refused:?}");
    }
    assert_eq!(shop.place(&[("tea", 1)]).await.expect("placed").total, fen(50));
}

#[tokio::test]
async fn a_wallet_stays_below_its_limit() {
    let shop = Shop::open().await;
    shop.top_up(WALLET_MAX - 1_000).await.expect("just fits");
    assert!(matches!(shop.top_up(1).await, Err(Error::WalletFull { .. })));
    assert_eq!(shop.balance().await, WALLET_MAX);
    let postings = "SELECT SUM(amount_minor) FROM trade_posting WHERE account = 'wallet'";
    assert_eq!(shop.rows(postings).await, WALLET_MAX, "a refused top-up is in no ledger");
}
