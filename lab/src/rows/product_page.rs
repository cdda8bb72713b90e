//! 1.2: a product's page from independent calls, one after the other or at once.

use super::{Case, Headline, Home, Row, Shop, Turn, Way};
use anyhow::ensure;
use client_sdk::fanout;
use shop_proto::{
    catalog_v1::{GetProductRequest, GetProductResponse, catalog_service_client::CatalogServiceClient},
    member_v1::{GetMemberRequest, GetMemberResponse, member_service_client::MemberServiceClient},
    trade_v1::{
        BatchGetStockRequest, BatchGetStockResponse, GetWalletRequest, GetWalletResponse, OrderLine, QuotePriceRequest,
        QuotePriceResponse, pricing_service_client::PricingServiceClient, stock_service_client::StockServiceClient,
        trade_service_client::TradeServiceClient,
    },
};

pub(super) const ROW: Row = Row {
    id: "1.2",
    what: "Front end calls in parallel",
    guide: "max, not sum",
    lives: &[("client-sdk/src/fanout.rs", "`fanout!`"), ("lab/src/rows/product_page.rs", "a product's page")],
    note: "A page is product, stock, its price with promotions (all read where the caller is), the member's name and his wallet \
           (both at his home).",
    headline: Headline::Latency,
    cases: |shop| Box::pin(async move { Ok(cases(&shop)) }),
};

fn cases(shop: &Shop) -> Vec<Case> {
    let case = |name, home| {
        let at = &(shop.clone(), home);
        let ways = vec![
            Way::new("one after the other", at, serial),
            Way::new("at once, the same client", at, parallel),
            Way::new("fan-out of the SDK", at, fan_out),
        ];
        Case { name, unit: "page", callers: 1, ways }
    };
    vec![case("a member at home here", Home::Here), case("a member at home 30 ms away", Home::Far)]
}

/// What a page asks for.
struct Page {
    product: GetProductRequest,
    stock: BatchGetStockRequest,
    promotion: QuotePriceRequest,
    member: GetMemberRequest,
    wallet: GetWalletRequest,
}

impl Page {
    fn of(shop: &Shop, home: Home, Turn { n }: Turn) -> Self {
        let (sku, user_id) = (shop.sku(n), shop.member(home, n));
        Self {
            product: GetProductRequest { sku: sku.clone() },
            stock: BatchGetStockRequest { skus: vec![sku.clone()] },
            promotion: QuotePriceRequest { lines: vec![OrderLine { sku, quantity: 1 }], coupon_code: String::new() },
            member: GetMemberRequest { user_id: user_id.clone() },
            wallet: GetWalletRequest { user_id },
        }
    }
}

fn check(
    product: &GetProductResponse,
    stock: &BatchGetStockResponse,
    promotion: &QuotePriceResponse,
    member: &GetMemberResponse,
    wallet: &GetWalletResponse,
) -> anyhow::Result<()> {
    let there =
        product.product.is_some() && promotion.total.is_some() && member.member.is_some() && wallet.wallet.is_some();
    ensure!(there && stock.levels.iter().all(|level| level.available > 0), "a page without its parts");
    Ok(())
}

async fn serial((shop, home): (Shop, Home), turn: Turn) -> anyhow::Result<()> {
    let (page, pool) = (Page::of(&shop, home, turn), shop.routers());
    let product = CatalogServiceClient::new(pool.channel()).get_product(page.product).await?;
    let stock = StockServiceClient::new(pool.channel()).batch_get_stock(page.stock).await?;
    let promotion = PricingServiceClient::new(pool.channel()).quote_price(page.promotion).await?;
    let member = MemberServiceClient::new(pool.channel()).get_member(page.member).await?;
    let wallet = TradeServiceClient::new(pool.channel()).get_wallet(page.wallet).await?;
    check(product.get_ref(), stock.get_ref(), promotion.get_ref(), member.get_ref(), wallet.get_ref())
}

async fn parallel((shop, home): (Shop, Home), turn: Turn) -> anyhow::Result<()> {
    let (page, pool) = (Page::of(&shop, home, turn), shop.routers());
    let (mut catalog, mut stocks) =
        (CatalogServiceClient::new(pool.channel()), StockServiceClient::new(pool.channel()));
    let (mut members, mut trade) = (MemberServiceClient::new(pool.channel()), TradeServiceClient::new(pool.channel()));
    let mut pricing = PricingServiceClient::new(pool.channel());
    let (product, stock, promotion, member, wallet) = tokio::try_join!(
        catalog.get_product(page.product),
        stocks.batch_get_stock(page.stock),
        pricing.quote_price(page.promotion),
        members.get_member(page.member),
        trade.get_wallet(page.wallet),
    )?;
    check(product.get_ref(), stock.get_ref(), promotion.get_ref(), member.get_ref(), wallet.get_ref())
}

async fn fan_out((shop, home): (Shop, Home), turn: Turn) -> anyhow::Result<()> {
    let (asked, sdk) = (Page::of(&shop, home, turn), shop.sdk());
    let page = fanout!(
        core:
            product = sdk.catalog.get_product(asked.product),
            stock = sdk.stock.batch_get_stock(asked.stock),
            promotion = sdk.pricing.quote_price(asked.promotion);
        optional:
            member = sdk.members.get_member(asked.member) => GetMemberResponse::default(),
            wallet = sdk.trade.get_wallet(asked.wallet) => GetWalletResponse::default()
    )
    .await?;
    check(&page.product, &page.stock, &page.promotion, &page.member, &page.wallet)
}
