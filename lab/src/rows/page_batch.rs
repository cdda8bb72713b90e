//! 7.4: a page of products with their stock, by single calls or by one batch of each.

use super::{Case, Headline, Row, Shop, Turn, Way};
use anyhow::ensure;
use client_sdk::fanout;
use shop_proto::{
    catalog_v1::{
        BatchGetProductsRequest, BatchGetProductsResponse, GetProductRequest,
        catalog_service_client::CatalogServiceClient,
    },
    trade_v1::{BatchGetStockRequest, BatchGetStockResponse, stock_service_client::StockServiceClient},
};

pub(super) const ROW: Row = Row {
    id: "7.4",
    what: "Batch interfaces",
    guide: "−70 % calls, −60 % latency",
    lives: &[
        ("proto/shop/catalog/v1/catalog.proto", "`BatchGetProducts`"),
        ("proto/shop/trade/v1/trade.proto", "`BatchGetStock`"),
        ("lab/src/rows/page_batch.rs", "a page of twenty products"),
    ],
    note: "Twenty products with their stock; catalogue and trade are where the caller is.",
    headline: Headline::Latency,
    cases: |shop| Box::pin(async move { Ok(cases(&shop)) }),
};

/// Products of a page.
const ITEMS: usize = 20;

fn cases(shop: &Shop) -> Vec<Case> {
    let case = |name, callers| {
        let ways = vec![
            Way::new("two calls for each product", shop, singles),
            Way::new("one batch of each", shop, batches),
            Way::new("one batch of each, fan-out", shop, fan_out),
        ];
        Case { name, unit: "page", callers, ways }
    };
    vec![case("a page of 20 products", 1), case("pages of 20 products", 16)]
}

async fn singles(shop: Shop, Turn { n }: Turn) -> anyhow::Result<()> {
    for sku in shop.skus(n, ITEMS) {
        let request = GetProductRequest { sku: sku.clone() };
        let product = CatalogServiceClient::new(shop.routers().channel()).get_product(request).await?;
        let request = BatchGetStockRequest { skus: vec![sku] };
        let stock = StockServiceClient::new(shop.routers().channel()).batch_get_stock(request).await?;
        ensure!(product.into_inner().product.is_some() && stock.into_inner().levels.len() == 1, "no product");
    }
    Ok(())
}

fn check(products: &BatchGetProductsResponse, stock: &BatchGetStockResponse) -> anyhow::Result<()> {
    let whole = products.results.iter().all(|result| result.product.is_some());
    ensure!(whole && products.results.len() == ITEMS && stock.levels.len() == ITEMS, "a page without its parts");
    Ok(())
}

async fn batches(shop: Shop, Turn { n }: Turn) -> anyhow::Result<()> {
    let skus = shop.skus(n, ITEMS);
    let request = BatchGetProductsRequest { skus: skus.clone() };
    let products = CatalogServiceClient::new(shop.routers().channel()).batch_get_products(request).await?;
    let request = BatchGetStockRequest { skus };
    let stock = StockServiceClient::new(shop.routers().channel()).batch_get_stock(request).await?;
    check(products.get_ref(), stock.get_ref())
}

async fn fan_out(shop: Shop, Turn { n }: Turn) -> anyhow::Result<()> {
    let (skus, sdk) = (shop.skus(n, ITEMS), shop.sdk());
    let page = fanout!(
        core:
            products = sdk.catalog.batch_get_products(BatchGetProductsRequest { skus: skus.clone() }),
            stock = sdk.stock.batch_get_stock(BatchGetStockRequest { skus })
    )
    .await?;
    check(&page.products, &page.stock)
}
