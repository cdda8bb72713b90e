//! 2.3: order and payment as one service with one transaction, or as two that call each other.

use super::{Case, Headline, Home, Pool, Row, Shop, Turn, Way};
use crate::split::proto::{
    GetPaymentRequest, order_service_client::OrderServiceClient, payment_service_client::PaymentServiceClient,
};
use anyhow::{Context as _, ensure};
use shop_proto::trade_v1::{
    GetOrderRequest, Order, OrderLine, PlaceOrderRequest, trade_service_client::TradeServiceClient,
};
use std::sync::Arc;

pub(super) const ROW: Row = Row {
    id: "2.3",
    what: "No over-fine microservices",
    guide: "3–5 fewer RPCs a request",
    lives: &[
        (
            "services/trade/src/store/place.rs",
            "`place_order`: stock, wallet, order, payment and event in one transaction",
        ),
        ("lab/src/split/order.rs", "the same as two services, for comparison"),
    ],
    note: "Both through the router, by the same client, on the same storage with synchronous = FULL. Split: reserve, pay (in \
           another process), confirm; three transactions. Merged: one. With 32 callers the merged service is \
           at the limit of its one database, which has one writer; the split's three databases have three, and use more of \
           both processors.",
    headline: Headline::Latency,
    cases: |shop| Box::pin(cases(shop)),
};

async fn cases(shop: Shop) -> anyhow::Result<Vec<Case>> {
    let in_two = placed(&shop, async |order| split(shop.routers(), order).await).await?;
    let in_one = placed(&shop, async |order| merged(shop.routers(), order).await).await?;
    let place = |name, callers| {
        let ways = vec![
            Way::new("order and payment service", &shop, place_split),
            Way::new("one service, one transaction", &shop, place_merged),
        ];
        Case { name, unit: "order", callers, ways }
    };
    let show = vec![
        Way::new("order and payment service", &in_two, show_split),
        Way::new("one service, one transaction", &in_one, show_merged),
    ];
    Ok(vec![
        place("placing an order", 1),
        place("placing orders", 32),
        Case { name: "an order with its payment", unit: "look", callers: 1, ways: show },
    ])
}

/// An order of one piece, never made before.
pub(super) fn order(shop: &Shop, home: Home, Turn { n }: Turn) -> PlaceOrderRequest {
    PlaceOrderRequest {
        user_id: shop.member(home, n),
        request_id: format!("lab-{n}"),
        lines: vec![OrderLine { sku: shop.sku(n), quantity: 1 }],
        preview_token: String::new(),
        coupon_code: String::new(),
    }
}

/// Refuses an order that is not paid.
pub(super) fn check(order: Option<Order>) -> anyhow::Result<Order> {
    let order = order.context("no order")?;
    ensure!(!order.payment_id.is_empty(), "an order without its payment");
    Ok(order)
}

/// Places an order at the split services behind a router.
pub(super) async fn split(pool: &Pool, order: PlaceOrderRequest) -> anyhow::Result<Order> {
    check(OrderServiceClient::new(pool.channel()).place_order(order).await?.into_inner().order)
}

/// Places an order at trade, through a router.
pub(super) async fn merged(pool: &Pool, order: PlaceOrderRequest) -> anyhow::Result<Order> {
    check(TradeServiceClient::new(pool.channel()).place_order(order).await?.into_inner().order)
}

async fn place_split(shop: Shop, turn: Turn) -> anyhow::Result<()> {
    split(shop.routers(), order(&shop, Home::Here, turn)).await.map(drop)
}

async fn place_merged(shop: Shop, turn: Turn) -> anyhow::Result<()> {
    merged(shop.routers(), order(&shop, Home::Here, turn)).await.map(drop)
}

/// One order of each member, for looks at it.
async fn placed(shop: &Shop, place: impl AsyncFn(PlaceOrderRequest) -> anyhow::Result<Order>) -> anyhow::Result<Looks> {
    let mut orders = Vec::new();
    for n in 0..shop.members(Home::Here).len() {
        let request_id = format!("look-{n}");
        orders.push(place(PlaceOrderRequest { request_id, ..order(shop, Home::Here, Turn { n }) }).await?);
    }
    Ok((shop.clone(), Arc::new(orders)))
}

type Looks = (Shop, Arc<Vec<Order>>);

async fn show_split((shop, orders): Looks, Turn { n }: Turn) -> anyhow::Result<()> {
    let Order { user_id, order_id, .. } = orders[n % orders.len()].clone();
    let get = GetOrderRequest { user_id: user_id.clone(), order_id: order_id.clone() };
    let order = OrderServiceClient::new(shop.routers().channel()).get_order(get).await?.into_inner();
    let get = GetPaymentRequest { user_id, order_id };
    let payment = PaymentServiceClient::new(shop.routers().channel()).get_payment(get).await?.into_inner();
    ensure!(check(order.order)?.payment_id == payment.payment_id, "order and payment differ");
    Ok(())
}

async fn show_merged((shop, orders): Looks, Turn { n }: Turn) -> anyhow::Result<()> {
    let Order { user_id, order_id, .. } = orders[n % orders.len()].clone();
    let get = GetOrderRequest { user_id, order_id };
    check(TradeServiceClient::new(shop.routers().channel()).get_order(get).await?.into_inner().order).map(drop)
}
