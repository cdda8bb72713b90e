//! A running cluster and the calls every test makes.

use anyhow::Context as _;
use cellctl::cluster::{Cell, Cluster, ClusterConfig};
pub use lab::processes::{http_get, metric};
use shop_proto::{catalog_v1 as catalog, member_v1 as member, trade_v1 as trade};
use std::{net::SocketAddr, ops::Deref, ops::DerefMut, time::Duration};
use testkit::call::{Answer, Caller};

/// A cluster in a folder of its own.
pub struct Mesh {
    cluster: Cluster,
    _dir: tempfile::TempDir,
}

impl Deref for Mesh {
    type Target = Cluster;
    fn deref(&self) -> &Cluster {
        &self.cluster
    }
}

impl DerefMut for Mesh {
    fn deref_mut(&mut self) -> &mut Cluster {
        &mut self.cluster
    }
}

impl Mesh {
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_with(|_| {}).await
    }

    pub async fn start_with(change: impl FnOnce(&mut ClusterConfig)) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let mut config = ClusterConfig::new(dir.path(), cellctl::cluster::bin_dir()?);
        config.ready_limit = Duration::from_secs(30);
        change(&mut config);
        Ok(Self { cluster: Cluster::start(config).await?, _dir: dir })
    }

    pub fn bj(&self) -> &Cell {
        &self.cluster.cells[0]
    }

    pub fn sh(&self) -> &Cell {
        &self.cluster.cells[1]
    }
}

pub const GET_MEMBER: &str = "/shop.member.v1.MemberService/GetMember";
pub const REGISTER: &str = "/shop.member.v1.MemberService/Register";
pub const PLACE_ORDER: &str = "/shop.trade.v1.TradeService/PlaceOrder";
pub const TOP_UP: &str = "/shop.trade.v1.TradeService/TopUp";
pub const GET_WALLET: &str = "/shop.trade.v1.TradeService/GetWallet";
pub const LIST_PRODUCTS: &str = "/shop.catalog.v1.CatalogService/ListProducts";

/// Registers a member at a door.
pub async fn register(door: SocketAddr) -> anyhow::Result<String> {
    let answer = Caller::connect(door).await?.message(REGISTER, &member::RegisterRequest::default(), &[]).await?;
    Ok(answer.message::<member::RegisterResponse>()?.user_id)
}

/// Reads a member at a door.
pub async fn get_member(door: SocketAddr, user: &str, extra: &[(&str, &str)]) -> anyhow::Result<Answer> {
    let request = member::GetMemberRequest { user_id: user.to_owned() };
    Caller::connect(door).await?.message(GET_MEMBER, &request, extra).await
}

/// Puts money into a wallet.
pub async fn top_up(caller: &mut Caller, user: &str, request_id: &str, fen: i64) -> anyhow::Result<Answer> {
    let amount = Some(trade::Money { currency_code: "CNY".to_owned(), minor_units: fen });
    let request = trade::TopUpRequest { user_id: user.to_owned(), request_id: request_id.to_owned(), amount };
    caller.message(TOP_UP, &request, &[]).await
}

/// An order of one piece of a product.
pub fn order_of(user: &str, request_id: &str, sku: &str) -> trade::PlaceOrderRequest {
    trade::PlaceOrderRequest {
        user_id: user.to_owned(),
        request_id: request_id.to_owned(),
        lines: vec![trade::OrderLine { sku: sku.to_owned(), quantity: 1 }],
        ..Default::default()
    }
}

/// Balance of a wallet in minor units.
pub async fn balance(caller: &mut Caller, user: &str) -> anyhow::Result<i64> {
    let request = trade::GetWalletRequest { user_id: user.to_owned() };
    let wallet = caller.message(GET_WALLET, &request, &[]).await?.message::<trade::GetWalletResponse>()?;
    Ok(wallet.wallet.and_then(|w| w.balance).context("a wallet without a balance")?.minor_units)
}

/// The cheapest products with plenty of stock in every cell.
pub async fn products(door: SocketAddr) -> anyhow::Result<Vec<catalog::Product>> {
    let request = catalog::ListProductsRequest { page_size: 100, page_token: String::new() };
    let answer = Caller::connect(door).await?.message(LIST_PRODUCTS, &request, &[]).await?;
    let mut products = answer.message::<catalog::ListProductsResponse>()?.products;
    let stock = |p: &catalog::Product| p.allotments.iter().map(|a| a.quantity).min().unwrap_or(0);
    products.sort_by_key(|p| std::cmp::Reverse(stock(p)));
    anyhow::ensure!(!products.is_empty(), "the catalogue is empty");
    Ok(products)
}

/// How many of something: the small number, or the under `cargo xtask soak`.
pub fn scale(small: u32, full: u32) -> u32 {
    if std::env::var_os("CELLMESH_SOAK").is_some() { full } else { small }
}

/// A program of the product, without the variables that steer the tests: it refuses settings it does not know.
pub fn product(program: &std::path::Path) -> tokio::process::Command {
    let mut command = tokio::process::Command::new(program);
    command.env_remove("CELLMESH_BIN_DIR").env_remove("CELLMESH_SOAK");
    command
}
