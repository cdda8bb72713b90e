//! The store alone, on a database in a temporary folder.

use cell_map::{Cell, CellId, CellMap, Incarnation, MapDraft, OwnerEpochs, UserKey};
use replication::{Batch, Position};
use shop_logic::{
    CampaignId, CouponCode, Currency, Line, Lines, Money, Quantity, Sku,
    campaign::{
        BasisPoints, Benefit, Coupon, CouponRefusal, Discount, Kind, ProductDiscount, SpendDiscount, Terms, Window,
    },
};
use sqlx::Row as _;
use storage::{BoxFuture, Db, DbConfig, FenceRequest, Tx, TxError, WorkError};
use tempfile::TempDir;
use trade::{
    Error, WALLET_MAX,
    domain::{Basis, Order, Placing, Stock, new_id},
    store::{self, Offer, Tariff},
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

fn code(text: &str) -> CouponCode {
    CouponCode::new(text).expect("valid")
}

fn terms(id: &str, kind: Kind) -> Terms {
    let window = Window::new(NOW - 1_000, NOW + 1_000).expect("not empty");
    Terms { id: CampaignId::new(id).expect("valid"), window, paused: false, kind }
}

fn off(id: &str, skus: &[&str], points: i32) -> Terms {
    let points = BasisPoints::new(points).expect("in range");
    let skus = skus.iter().map(|text| sku(text)).collect();
    terms(id, Kind::Product(ProductDiscount::new(skus, points).expect("valid")))
}

fn spend(id: &str, threshold: i64, amount: i64) -> Terms {
    terms(id, Kind::Spend(SpendDiscount::new(fen(threshold), fen(amount)).expect("valid")))
}

fn coupon(id: &str, text: &str, limit: u32, benefit: Benefit) -> Terms {
    terms(id, Kind::Coupon(Coupon::new(code(text), limit, fen(100), benefit).expect("valid")))
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
        shop.campaigns(1, true, vec![]).await;
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

    async fn campaigns(&self, sequence: u64, replace: bool, items: Vec<Terms>) {
        let at = |sequence| Position { incarnation: 1, sequence };
        let batch = Batch { base: at(sequence - 1), position: at(sequence), replace, items };
        let applied = self.run(move |tx| Box::pin(async move { store::apply_campaigns(tx, &batch).await })).await;
        applied.expect("applied");
    }

    /// What campaigns take off some lines, by campaign, and what is then to be paid.
    async fn quote(&self, of: &[(&str, i32)], coupon: Option<&str>) -> (Vec<(String, i64)>, i64) {
        let (user, lines, coupon) = (self.user.clone(), lines(of), coupon.map(code));
        let quote = self.run(move |tx| {
            Box::pin(async move {
                let tariff = Tariff::read(tx, Some(&user), &lines, coupon.as_ref(), NOW).await?;
                Ok(tariff.quote(&lines, coupon.as_ref(), NOW).expect("priced"))
            })
        });
        let quote = quote.await.expect("read");
        let off = |discount: &Discount| (discount.campaign.to_string(), discount.amount.minor_units());
        (quote.discounts().iter().map(off).collect(), quote.total().minor_units())
    }

    async fn place(&self, of: &[(&str, i32)]) -> Result<Order, Error> {
        self.place_with(of, None).await
    }

    async fn place_with(&self, of: &[(&str, i32)], coupon: Option<&str>) -> Result<Order, Error> {
        let (user, lines) = (self.user.clone(), lines(of));
        let (order_id, payment_id) = (new_id(NOW), new_id(NOW));
        let coupon = coupon.map(code);
        let placing = Placing { user, lines, coupon, basis: Basis::Present, order_id, payment_id, now_ms: NOW };
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

#[tokio::test]
async fn campaigns_of_the_stream_make_orders_cheaper_until_they_change() {
    let shop = Shop::open().await;
    let share = Benefit::Share(BasisPoints::new(1_000).expect("in range"));
    let of = [off("tea-20", &["tea", "wok"], 2_000), spend("from-300", 300, 40), coupon("tenth", "CODE-1", 1, share)];
    shop.campaigns(2, false, of.to_vec()).await;
    let taken = |of: &[(&str, i64)]| of.iter().map(|&(id, amount)| (id.to_owned(), amount)).collect::<Vec<_>>();
    let basket = [("cup", 1), ("tea", 2)];
    let all = taken(&[("tea-20", 40), ("from-300", 40), ("tenth", 82)]);
    assert_eq!(shop.quote(&basket, Some("CODE-1")).await, (all.clone(), 738), "of 700 + 2 × 100");

    let placed = shop.place_with(&basket, Some("CODE-1")).await.expect("placed");
    assert_eq!((placed.total, shop.balance().await), (fen(738), 262));
    let (user, id) = (shop.user.clone(), shop_logic::OpaqueId::new(&placed.id).expect("valid"));
    let found = shop.run(move |tx| Box::pin(async move { store::find(tx.conn(), &user, &id).await })).await;
    assert_eq!(found.expect("read"), Some(placed), "it is read back with its discounts and coupon");

    // Other windows, states and products; a kind that moved away leaves nothing behind.
    let over = Window::new(NOW - 9, NOW).expect("not empty");
    let changed = vec![off("tea-20", &["cup"], 100), Terms { window: over, ..spend("from-300", 300, 40) }];
    shop.campaigns(3, false, changed).await;
    assert_eq!(shop.quote(&basket, None).await, (taken(&[("tea-20", 7)]), 893));
    shop.campaigns(4, false, vec![Terms { paused: true, ..off("tea-20", &["cup"], 100) }]).await;
    assert_eq!(shop.quote(&basket, None).await, (vec![], 900));
    shop.campaigns(5, true, vec![spend("new", 300, 1)]).await;
    assert_eq!(shop.quote(&basket, Some("CODE-1")).await, (taken(&[("new", 1)]), 899), "a snapshot replaces all");
}

#[tokio::test]
async fn a_coupon_serves_as_many_orders_as_it_may() {
    let shop = Shop::open().await;
    shop.campaigns(2, false, vec![coupon("twice", "CODE-2", 2, Benefit::Amount(fen(99)))]).await;
    for _ in 0..2 {
        assert_eq!(shop.place_with(&[("tea", 1)], Some("CODE-2")).await.expect("placed").total, fen(1));
    }
    let refused = shop.place_with(&[("tea", 1)], Some("CODE-2")).await;
    assert!(matches!(refused, Err(Error::Coupon(CouponRefusal::UsedUp { limit: 2 }))), "{refused:?}");
    let unknown = shop.place_with(&[("tea", 1)], Some("NO-SUCH")).await;
    assert!(matches!(unknown, Err(Error::Coupon(CouponRefusal::Unknown))), "{unknown:?}");
    assert_eq!((shop.left("tea").await, shop.balance().await), (8, 998), "a refusal moves nothing");
    assert_eq!(shop.rows("SELECT redeemed FROM trade_redemption WHERE campaign_id = 'twice'").await, 2);
    // An order that fails otherwise redeems nothing.
    shop.campaigns(3, false, vec![coupon("again", "CODE-3", 1, Benefit::Amount(fen(1)))]).await;
    let poor = shop.place_with(&[("cup", 10)], Some("CODE-3")).await;
    assert!(matches!(poor, Err(Error::InsufficientFunds { .. })), "{poor:?}");
    assert_eq!(shop.rows("SELECT COUNT(*) FROM trade_redemption").await, 1);
}

#[tokio::test]
async fn nothing_is_priced_before_it_is_known_what_counts() {
    let shop = Shop::open().await;
    shop.rows("DELETE FROM trade_campaign_position RETURNING 1").await;
    let refused = shop.place(&[("tea", 1)]).await;
    assert!(matches!(refused, Err(Error::CopyMissing { what: "campaigns" })), "{refused:?}");
}

/// A price looks at the campaigns that may touch it, found by an index.
#[tokio::test]
async fn campaigns_are_found_by_an_index() {
    let shop = Shop::open().await;
    for sql in [store::OF_PRODUCTS, store::OF_SPENDING, store::OF_CODE, store::REDEMPTIONS] {
        let plan = shop.run(move |tx| {
            Box::pin(async move {
                let sql = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"));
                let rows = sqlx::query(sql).fetch_all(tx.conn()).await?;
                Ok(rows.iter().map(|row| row.get::<String, _>("detail")).collect::<Vec<_>>())
            })
        });
        let plan = plan.await.expect("explained");
        assert!(
            plan.iter()
                .all(|step| !step.contains("SCAN trade") && !step.contains("SCAN c") && !step.contains("TEMP B-TREE")),
            "{sql}: {plan:?}"
        );
    }
}
