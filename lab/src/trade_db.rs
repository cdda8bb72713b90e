//! A cell's database with trade's tables, products and users with money in it: what trade's transaction needs and no more.

use anyhow::Context as _;
use cell_map::{Cell, CellId, CellMap, Incarnation, MapDraft, OwnerEpochs, RegionId, UserKey, mint};
use replication::{Batch, Position};
use shop_logic::{Currency, Line, Lines, Money, Quantity, Sku};
use std::path::Path;
use storage::{Db, DbConfig, FenceRequest, WorkError};
use trade::{
    domain::{Basis, Placing, new_id},
    store::{self, Offer},
};

/// A database ready for orders.
pub struct TradeDb {
    /// The database.
    pub db: Db,
    /// Users at home in it, each with plenty of money.
    pub users: Vec<UserKey>,
    /// Users at home in the other cell.
    pub foreigners: Vec<UserKey>,
}

/// Two cells, half of the buckets each.
fn two_cells() -> anyhow::Result<CellMap> {
    let mut draft = MapDraft::new(Incarnation::new(1));
    for (cell, region) in [("bj-1", "beijing"), ("sh-1", "shanghai")] {
        draft.add_cell(Cell::new(CellId::new(cell)?, RegionId::new(region)?))?;
    }
    draft.set_distance(
        &RegionId::new("beijing")?,
        &RegionId::new("shanghai")?,
        std::time::Duration::from_millis(30),
    )?;
    draft.set_global_cell(&CellId::new("bj-1")?);
    draft.spread_buckets()?;
    Ok(draft.build()?)
}

fn draw(map: &CellMap, cell: &str, how_many: usize) -> anyhow::Result<Vec<UserKey>> {
    let cell = CellId::new(cell)?;
    (0..how_many).map(|_| Ok(mint(map, &cell, rand::random)?.key)).collect()
}

impl TradeDb {
    /// Makes the database of `bj-1` with `users` users and products `sku-0` … `sku-9` at 100 fen.
    ///
    /// # Errors
    /// If it cannot be made.
    pub async fn create(path: &Path, users: usize) -> anyhow::Result<Self> {
        let map = two_cells()?;
        let cell = CellId::new("bj-1")?;
        let db = Db::open(DbConfig::new(path, cell.clone()), store::MIGRATIONS).await?;
        db.bootstrap_ownership(&map, &cell).await?;
        let offers = (0..10).map(|n| {
            let (sku, unit_price) = (Sku::new(&format!("sku-{n}"))?, Money::new(Currency::CNY, 100));
            anyhow::Ok(Offer { sku, unit_price, version: 1, allotted: 1_000_000_000 })
        });
        let items = offers.collect::<anyhow::Result<Vec<_>>>()?;
        let position = Position { incarnation: 1, sequence: 1 };
        let batch = Batch { base: Position::default(), position, replace: true, items };
        db.global(move |tx| Box::pin(async move { store::apply(tx, &batch).await })).await?;
        let batch = Batch { base: Position::default(), position, replace: true, items: Vec::new() };
        db.global(move |tx| Box::pin(async move { store::apply_campaigns(tx, &batch).await })).await?;
        let this = Self { users: draw(&map, "bj-1", users)?, foreigners: draw(&map, "sh-1", users)?, db };
        for user in this.users.iter().chain(&this.foreigners) {
            this.fill(user.clone()).await?;
        }
        Ok(this)
    }

    /// Money for everybody, foreigners included, so that nothing but a fence keeps them from ordering here.
    async fn fill(&self, user: UserKey) -> anyhow::Result<()> {
        let amount = Money::new(Currency::CNY, 50_000_000);
        let fill = self.db.global(move |tx| {
            let now = tx.now_ms();
            Box::pin(async move { store::top_up(tx.conn(), &user, new_id(now), amount, now).await })
        });
        fill.await?;
        Ok(())
    }

    /// Takes the foreigners' data away again.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn forget_foreigners(&self) -> anyhow::Result<()> {
        for user in self.foreigners.clone() {
            let forget = self.db.global::<_, trade::Error, _>(move |tx| {
                Box::pin(async move {
                    for sql in
                        ["DELETE FROM trade_wallet WHERE user_key = ?", "DELETE FROM trade_posting WHERE user_key = ?"]
                    {
                        tx.execute(sql, vec![user.as_bytes().into()]).await.map_err(WorkError::from)?;
                    }
                    Ok(())
                })
            });
            forget.await?;
        }
        Ok(())
    }

    /// An order of one piece of one product, with ids of its own.
    ///
    /// # Errors
    /// Never for a number the products have.
    pub fn placing(&self, user: &UserKey, product: usize) -> anyhow::Result<Placing> {
        let line = Line { sku: Sku::new(&format!("sku-{}", product % 10))?, quantity: Quantity::new(1)? };
        let now_ms = self.db.now_ms();
        Ok(Placing {
            user: user.clone(),
            lines: Lines::new(vec![line])?,
            coupon: None,
            basis: Basis::Present,
            order_id: new_id(now_ms),
            payment_id: new_id(now_ms),
            now_ms,
        })
    }

    /// The fence of a user, as a call without epochs asks it.
    #[must_use]
    pub fn fence<'a>(&self, key: &'a UserKey) -> FenceRequest<'a> {
        FenceRequest { key, asked: OwnerEpochs::ZERO }
    }

    /// A user's id as text.
    ///
    /// # Errors
    /// Never for minted users.
    pub fn text(user: &UserKey) -> anyhow::Result<String> {
        String::from_utf8(user.as_bytes().to_vec()).context("a minted id is text")
    }
}
