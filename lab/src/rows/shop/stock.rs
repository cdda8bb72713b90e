//! Members with money and friends, products with stock: all made through the front doors.

use super::{Home, MEMBERS, PRODUCTS, Pool, Shop};
use crate::split::proto::payment_service_client::PaymentServiceClient;
use anyhow::Context as _;
use futures_util::future::try_join_all;
use shop_proto::{
    catalog_v1::{self as catalog, catalog_service_client::CatalogServiceClient},
    follow_v1::{BatchFollowRequest, follow_service_client::FollowServiceClient},
    member_v1::{RegisterRequest, member_service_client::MemberServiceClient},
    trade_v1::{self as trade, stock_service_client::StockServiceClient, trade_service_client::TradeServiceClient},
};
use std::time::{Duration, Instant};

/// Whom each member follows: `author-0`, `author-2`, …, so many.
pub(in crate::rows) const FOLLOWED: usize = 200;
/// Orders of a list.
pub(in crate::rows) const ORDERS: usize = 5;
/// Products of each of them.
pub(in crate::rows) const LINES: usize = 4;
/// How long products may take to every cell.
const PATIENCE: Duration = Duration::from_secs(30);

/// Makes the lab's products, with stock in these cells that does not run out; returns when trade in every cell has them.
pub(super) async fn products(cells: &[String], doors: &[&Pool]) -> anyhow::Result<Vec<String>> {
    let skus: Vec<String> = (0..PRODUCTS).map(|n| format!("lab-{n}")).collect();
    let mut client = CatalogServiceClient::new(doors.first().context("no door")?.channel());
    for sku in &skus {
        let allot = |cell: &String| catalog::Allotment { cell: cell.clone(), quantity: 100_000_000 };
        let product = catalog::Product {
            sku: sku.clone(),
            title: format!("Product of the lab {sku}"),
            unit_price: Some(catalog::Money { currency_code: "CNY".to_owned(), minor_units: 100 }),
            version: 0,
            allotments: cells.iter().map(allot).collect(),
        };
        client
            .create_product(catalog::CreateProductRequest { request_id: sku.clone(), product: Some(product) })
            .await?;
    }
    let began = Instant::now();
    for door in doors {
        let mut client = StockServiceClient::new(door.channel());
        loop {
            let levels = client.batch_get_stock(trade::BatchGetStockRequest { skus: skus.clone() }).await?;
            if levels.into_inner().levels.iter().all(|level| level.available > 0) {
                break;
            }
            anyhow::ensure!(began.elapsed() < PATIENCE, "a cell does not get the products");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    Ok(skus)
}

/// Registers members at a cell's door.
pub(super) async fn members(door: &Pool) -> anyhow::Result<Vec<String>> {
    try_join_all((0..MEMBERS).map(|n| member(door, n))).await
}

async fn member(door: &Pool, n: usize) -> anyhow::Result<String> {
    let request = RegisterRequest { request_id: String::new(), display_name: format!("Member {n}") };
    let user_id = MemberServiceClient::new(door.channel()).register(request).await?.into_inner().user_id;
    let amount = Some(trade::Money { currency_code: "CNY".to_owned(), minor_units: 100_000_000 });
    let request = trade::TopUpRequest { user_id: user_id.clone(), request_id: "start".to_owned(), amount };
    TradeServiceClient::new(door.channel()).top_up(request.clone()).await?;
    PaymentServiceClient::new(door.channel()).top_up(request).await?;
    let target_ids = (0..FOLLOWED).map(|at| format!("author-{}", 2 * at)).collect();
    let request = BatchFollowRequest { user_id: user_id.clone(), target_ids };
    FollowServiceClient::new(door.channel()).batch_follow(request).await?;
    Ok(user_id)
}

/// Has each member of a cell place the orders of a list: [`ORDERS`] of [`LINES`] lines, of eight products in all.
pub(in crate::rows) async fn orders(shop: &Shop, home: Home) -> anyhow::Result<()> {
    let door = if home == Home::Here { shop.routers() } else { shop.far_routers() };
    let of_one = async |user_id: &String| {
        for order in 0..ORDERS {
            let line = |at: usize| trade::OrderLine { sku: shop.sku((order + at * 3) % 8), quantity: 1 };
            let request = trade::PlaceOrderRequest {
                user_id: user_id.clone(),
                request_id: format!("list-{order}-{:032x}", rand::random::<u128>()),
                lines: (0..LINES).map(line).collect(),
                preview_token: String::new(),
                coupon_code: String::new(),
            };
            TradeServiceClient::new(door.channel()).place_order(request).await?;
        }
        anyhow::Ok(())
    };
    try_join_all(shop.members(home).iter().map(of_one)).await.map(drop)
}
