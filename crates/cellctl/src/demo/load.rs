//! A few shoppers who use both doors: what the demo's traces and figures are made of.

use super::stats::Stats;
use crate::cluster::Cell;
use anyhow::{Context as _, bail};
use shop_proto::catalog_v1::ListProductsRequest;
use shop_proto::catalog_v1::catalog_service_client::CatalogServiceClient;
use shop_proto::member_v1::RegisterRequest;
use shop_proto::member_v1::member_service_client::MemberServiceClient;
use shop_proto::trade_v1::trade_service_client::TradeServiceClient;
use shop_proto::trade_v1::{GetOrderRequest, Money, OrderLine, PlaceOrderRequest, PreviewOrderRequest, TopUpRequest};
use std::convert::Infallible;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status};

/// Between two orders.
const PACE: Duration = Duration::from_millis(250);
/// Between two lines of figures.
const LINE: Duration = Duration::from_secs(10);
/// Shoppers of each cell.
const SHOPPERS: usize = 3;
/// What a shopper puts into an empty wallet, in minor units.
const TOP_UP: i64 = 1_000_000;
/// The deadline of each call.
const DEADLINE: Duration = Duration::from_secs(5);
/// How often a call whose outcome is unknown is repeated.
const REPEATS: usize = 3;

/// Somebody who shops.
#[derive(Debug, Clone)]
pub(super) struct Shopper {
    pub user_id: String,
    /// Name of the cell that he registered in.
    pub cell: String,
}

struct Door {
    cell: String,
    region: String,
    channel: Channel,
}

/// Shoppers with filled wallets, and the doors they use.
pub(super) struct Load {
    doors: Vec<Door>,
    shoppers: Vec<Shopper>,
    skus: Vec<String>,
    currency: String,
}

/// Why an order did not come about.
enum Failure {
    SoldOut,
    NoMoney,
    Other(Status),
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        match (status.code(), reason(&status).as_deref()) {
            (_, Some("SOLD_OUT_HERE")) => Self::SoldOut,
            (_, Some("INSUFFICIENT_FUNDS")) => Self::NoMoney,
            _ => Self::Other(status),
        }
    }
}

/// The reason in the status's `google.rpc.ErrorInfo`.
fn reason(status: &Status) -> Option<String> {
    use tonic_types::StatusExt as _;
    status.get_details_error_info().map(|info| info.reason)
}

impl Load {
    /// Registers shoppers at every door and fills their wallets.
    pub async fn prepare(cells: &[Cell]) -> anyhow::Result<Self> {
        let mut doors = Vec::new();
        for cell in cells {
            let channel = Endpoint::from_shared(format!("http://{}", cell.front))?.tcp_nodelay(true).connect_lazy();
            doors.push(Door { cell: cell.id.clone(), region: cell.region.clone(), channel });
        }
        let (skus, currency) = products(&doors[0]).await?;
        let mut load = Self { doors, shoppers: Vec::new(), skus, currency };
        for _ in 0..SHOPPERS {
            for door in &load.doors {
                let request = RegisterRequest { request_id: unique(), display_name: "demo shopper".to_owned() };
                let registered = repeat(async || {
                    MemberServiceClient::new(door.channel.clone()).register(call(request.clone())).await
                });
                let user_id = registered.await.with_context(|| format!("registering in {}", door.cell))?.user_id;
                load.top_up(door, &user_id).await.with_context(|| format!("topping up in {}", door.cell))?;
                load.shoppers.push(Shopper { user_id, cell: door.cell.clone() });
            }
        }
        Ok(load)
    }

    /// The shoppers; the first ones are one of each cell.
    pub fn shoppers(&self) -> &[Shopper] {
        &self.shoppers
    }

    /// What they buy.
    pub fn skus(&self) -> &[String] {
        &self.skus
    }

    /// Places orders for ever and tells of them now and then.
    pub async fn run(&self, mut tell: impl FnMut(&str)) -> Infallible {
        let mut stats = Stats::default();
        let mut pace = interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told = Instant::now();
        loop {
            pace.tick().await;
            let door = &self.doors[rand::random_range(0..self.doors.len())];
            let shopper = &self.shoppers[rand::random_range(0..self.shoppers.len())];
            let home = self.doors.iter().find(|door| door.cell == shopper.cell);
            let crossed = home.is_some_and(|home| home.region != door.region);
            let started = Instant::now();
            match self.shop(door, shopper).await {
                Ok(()) => stats.placed(started.elapsed(), crossed),
                Err(Failure::SoldOut) => stats.sold_out(),
                Err(Failure::NoMoney) => {
                    if let Err(status) = self.top_up(door, &shopper.user_id).await {
                        stats.failed(describe(&status));
                    }
                }
                Err(Failure::Other(status)) => stats.failed(describe(&status)),
            }
            if told.elapsed() >= LINE {
                tell(&stats.take_line());
                told = Instant::now();
            }
        }
    }

    /// Preview, order, look at the order.
    async fn shop(&self, door: &Door, shopper: &Shopper) -> Result<(), Failure> {
        let trade = TradeServiceClient::new(door.channel.clone());
        let user_id = shopper.user_id.clone();
        let sku = self.skus[rand::random_range(0..self.skus.len())].clone();
        let lines = vec![OrderLine { sku, quantity: 1 }];
        let preview = PreviewOrderRequest { user_id: user_id.clone(), lines: lines.clone(), ..Default::default() };
        let preview = repeat(async || trade.clone().preview_order(call(preview.clone())).await).await?;
        let place = PlaceOrderRequest {
            user_id: user_id.clone(),
            request_id: unique(),
            lines,
            preview_token: preview.preview_token,
            ..Default::default()
        };
        let placed = repeat(async || trade.clone().place_order(call(place.clone())).await).await?;
        let order_id = placed.order.unwrap_or_default().order_id;
        let get = GetOrderRequest { user_id, order_id };
        repeat(async || trade.clone().get_order(call(get.clone())).await).await?;
        Ok(())
    }

    async fn top_up(&self, door: &Door, user_id: &str) -> Result<(), Status> {
        let amount = Money { currency_code: self.currency.clone(), minor_units: TOP_UP };
        let request = TopUpRequest { user_id: user_id.to_owned(), request_id: unique(), amount: Some(amount) };
        let trade = TradeServiceClient::new(door.channel.clone());
        repeat(async || trade.clone().top_up(call(request.clone())).await).await.map(drop)
    }
}

/// The products' SKUs, and the currency of the first.
async fn products(door: &Door) -> anyhow::Result<(Vec<String>, String)> {
    let request = ListProductsRequest { page_size: 100, page_token: String::new() };
    let listed =
        repeat(async || CatalogServiceClient::new(door.channel.clone()).list_products(call(request.clone())).await)
            .await;
    let products = listed.with_context(|| format!("listing products in {}", door.cell))?.products;
    let currency = products.first().and_then(|product| product.unit_price.clone()).map(|price| price.currency_code);
    let Some(currency) = currency else { bail!("{} has no products with a price", door.cell) };
    Ok((products.into_iter().map(|product| product.sku).collect(), currency))
}

/// Makes a call again while its outcome is unknown: each has a request id or changes nothing.
async fn repeat<T>(mut make: impl AsyncFnMut() -> Result<Response<T>, Status>) -> Result<T, Status> {
    let mut left = REPEATS;
    loop {
        match make().await {
            Ok(response) => return Ok(response.into_inner()),
            Err(status)
                if left > 0 && matches!(status.code(), Code::Unavailable | Code::Aborted | Code::DeadlineExceeded) =>
            {
                left -= 1;
                tokio::time::sleep(PACE).await;
            }
            Err(status) => return Err(status),
        }
    }
}

fn call<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(DEADLINE);
    request
}

fn unique() -> String {
    format!("demo-{:032x}", rand::random::<u128>())
}

fn describe(status: &Status) -> String {
    format!("{:?}: {}", status.code(), status.message())
}
