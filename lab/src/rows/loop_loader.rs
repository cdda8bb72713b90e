//! 4.6: the list of a member's orders with their products' titles: a look-up for each line, or one for all.

use super::{
    Case, Headline, Home, Row, Shop, Turn, Way,
    shop::{LINES, ORDERS, orders as placed},
};
use anyhow::{Context as _, ensure};
use client_sdk::RequestScope;
use shop_proto::{
    catalog_v1::{BatchGetProductsRequest, GetProductRequest, catalog_service_client::CatalogServiceClient},
    trade_v1::{ListOrdersRequest, Order, trade_service_client::TradeServiceClient},
};
use std::collections::{BTreeSet, HashMap};

pub(super) const ROW: Row = Row {
    id: "4.6",
    what: "No repeated work in loops",
    guide: "5×",
    lives: &[
        ("client-sdk/src/scope.rs", "`RequestScope::load_all`"),
        ("lab/src/rows/loop_loader.rs", "a list of orders with titles"),
    ],
    note: "Five orders of four lines, eight products in all. The list itself is read the same way each time.",
    headline: Headline::Latency,
    cases: |shop| Box::pin(cases(shop)),
};

async fn cases(shop: Shop) -> anyhow::Result<Vec<Case>> {
    placed(&shop, Home::Here).await?;
    let case = |name, callers| {
        let ways = vec![
            Way::new("a look-up for each line", &shop, each),
            Way::new("looked up together before the loop", &shop, before),
            Way::new("the request's loader", &shop, loader),
        ];
        Case { name, unit: "page", callers, ways }
    };
    Ok(vec![case("a list of orders", 1), case("lists of orders", 16)])
}

async fn orders(shop: &Shop, Turn { n }: Turn) -> anyhow::Result<Vec<Order>> {
    let request = ListOrdersRequest { user_id: shop.member(Home::Here, n), page_size: 5, page_token: String::new() };
    let response = TradeServiceClient::new(shop.routers().channel()).list_orders(request).await?;
    Ok(response.into_inner().orders)
}

/// The SKU of each line.
fn lines(orders: &[Order]) -> impl Iterator<Item = &str> {
    orders.iter().flat_map(|order| &order.lines).map(|line| line.sku.as_str())
}

fn check(titles: &[String]) -> anyhow::Result<()> {
    ensure!(
        titles.len() == ORDERS * LINES && titles.iter().all(|title| !title.is_empty()),
        "a list without titles: {titles:?}"
    );
    Ok(())
}

async fn each(shop: Shop, turn: Turn) -> anyhow::Result<()> {
    let orders = orders(&shop, turn).await?;
    let mut titles = Vec::new();
    for sku in lines(&orders) {
        let request = GetProductRequest { sku: sku.to_owned() };
        let response = CatalogServiceClient::new(shop.routers().channel()).get_product(request).await?;
        titles.push(response.into_inner().product.context("no product")?.title);
    }
    check(&titles)
}

async fn before(shop: Shop, turn: Turn) -> anyhow::Result<()> {
    let orders = orders(&shop, turn).await?;
    let skus: BTreeSet<&str> = lines(&orders).collect();
    let request = BatchGetProductsRequest { skus: skus.into_iter().map(str::to_owned).collect() };
    let response = CatalogServiceClient::new(shop.routers().channel()).batch_get_products(request).await?;
    let found =
        response.into_inner().results.into_iter().filter_map(|result| Some((result.sku, result.product?.title)));
    let known: HashMap<String, String> = found.collect();
    check(&lines(&orders).filter_map(|sku| known.get(sku).cloned()).collect::<Vec<_>>())
}

async fn loader(shop: Shop, turn: Turn) -> anyhow::Result<()> {
    let orders = orders(&shop, turn).await?;
    let (scope, catalog) = (RequestScope::default(), &shop.sdk().catalog);
    let calls = lines(&orders).map(|sku| catalog.get_product(GetProductRequest { sku: sku.to_owned() }));
    let mut titles = Vec::new();
    for reply in scope.load_all(calls).await {
        titles.push(reply?.value.product.context("no product")?.title);
    }
    check(&titles)
}
