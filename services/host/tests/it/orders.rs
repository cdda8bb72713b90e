use crate::{
    audit,
    cell::{Cell, assert_mesh, assert_shop, info, order},
};
use futures_util::{StreamExt, future::join_all, stream};
use shop_proto::trade_v1::{GetOrderRequest, GetWalletRequest, ListOrdersRequest, Money, OrderState, TopUpRequest};
use std::collections::HashSet;
use tonic::Code;

async fn balance(cell: &Cell, user_id: &str) -> i64 {
    let wallet = cell.trade().get_wallet(GetWalletRequest { user_id: user_id.into() }).await.expect("at home");
    let balance = wallet.into_inner().wallet.and_then(|wallet| wallet.balance).expect("there");
    assert_eq!(balance.currency_code, "CNY");
    balance.minor_units
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_moves_stock_and_money_together() {
    let cell = Cell::start().await;
    cell.sell("tea", 150, 10).await;
    cell.sell("cup", 1_000, 10).await;
    let ann = cell.rich(5_000).await;
    let placed = cell.place(order(&ann, "r-1", &[("tea", 2), ("cup", 1)])).await.expect("placed").order.expect("there");
    assert_eq!(placed.state(), OrderState::Paid);
    assert_eq!(placed.total.as_ref().map(|total| total.minor_units), Some(1_300));
    let lines: Vec<_> = placed.lines.iter().map(|line| (&*line.sku, line.quantity)).collect();
    assert_eq!(lines, [("tea", 2), ("cup", 1)], "in the order's own sequence");

    assert_eq!(balance(&cell, &ann).await, 3_700);
    cell.sells("tea", 8).await;
    cell.sells("cup", 9).await;
    let asked = GetOrderRequest { user_id: ann, order_id: placed.order_id.clone() };
    assert_eq!(cell.trade().get_order(asked).await.expect("there").into_inner().order, Some(placed));
    audit::assert_sound(&cell.database()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_order_is_placed_once() {
    let cell = Cell::start().await;
    cell.sell("tea", 100, 10).await;
    let (ann, bob) = (cell.rich(1_000).await, cell.rich(1_000).await);
    let first = cell.place(order(&ann, "r-1", &[("tea", 1)])).await.expect("placed");
    let again = cell.place(order(&ann, "r-1", &[("tea", 1)])).await.expect("replayed");
    assert_eq!(first, again);
    let other = cell.place(order(&ann, "r-1", &[("tea", 2)])).await.expect_err("another request");
    assert_mesh(&other, Code::FailedPrecondition, "IDEMPOTENCY_CONFLICT");
    let bobs = cell.place(order(&bob, "r-1", &[("tea", 1)])).await.expect("ids of users do not meet");
    assert_ne!(first, bobs);
    assert_eq!(balance(&cell, &ann).await, 900);
    cell.sells("tea", 8).await;
    audit::assert_sound(&cell.database()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_concurrent_repetitions_place_one_order() {
    let cell = Cell::start().await;
    cell.sell("tea", 100, 100).await;
    let ann = cell.rich(10_000).await;
    let place = || async {
        loop {
            match cell.place(order(&ann, "r-1", &[("tea", 1)])).await {
                Ok(placed) => return placed.order.expect("there").order_id,
                Err(status) => assert_mesh(&status, Code::Aborted, "IDEMPOTENCY_IN_PROGRESS"),
            }
        }
    };
    let ids: HashSet<String> = join_all((0..50).map(|_| place())).await.into_iter().collect();
    assert_eq!(ids.len(), 1, "{ids:?}");
    assert_eq!(balance(&cell, &ann).await, 9_900);
    audit::assert_sound(&cell.database()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_is_never_oversold() {
    const UNITS: usize = 100;
    const BUYS: usize = 150;
    let cell = Cell::start().await;
    cell.sell("tea", 100, UNITS as i64).await;
    let buyers = join_all((0..10).map(|_| cell.rich(100_000))).await;
    let buys = stream::iter(0..BUYS).map(|n| cell.place(order(&buyers[n % 10], &format!("r-{n}"), &[("tea", 1)])));
    let results: Vec<_> = buys.buffer_unordered(24).collect().await;
    let sold = results.iter().filter(|result| result.is_ok()).count();
    println!("figure: oversell N={BUYS} buys of {UNITS} units, {sold} sold");
    assert_eq!(sold, UNITS);
    for refused in results.iter().filter_map(|result| result.as_ref().err()) {
        assert_shop(refused, Code::FailedPrecondition, "SOLD_OUT_HERE");
        assert_eq!(info(refused, "available").as_deref(), Some("0"));
    }
    let mut spent = 0;
    for buyer in &buyers {
        spent += 100_000 - balance(&cell, buyer).await;
    }
    assert_eq!(spent, 100 * UNITS as i64, "every unit was paid once");
    audit::assert_sound(&cell.database()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_is_refused_leaves_nothing() {
    let cell = Cell::start().await;
    cell.sell("tea", 100, 5).await;
    cell.sell("gold", i64::MAX / 2, 1_000).await;
    let ann = cell.rich(1_000).await;
    let refused =
        async |lines: &[(&str, i32)]| cell.place(order(&ann, "r-1", lines)).await.expect_err("must be refused");
    assert_shop(&refused(&[("tea", 5), ("gold", 1)]).await, Code::FailedPrecondition, "INSUFFICIENT_FUNDS");
    assert_shop(&refused(&[("tea", 6)]).await, Code::FailedPrecondition, "SOLD_OUT_HERE");
    assert_shop(&refused(&[("tea", 1), ("none", 1)]).await, Code::NotFound, "UNKNOWN_SKU");
    assert_shop(&refused(&[("tea", 1), ("gold", 3)]).await, Code::FailedPrecondition, "AMOUNT_TOO_LARGE");

    assert_eq!(balance(&cell, &ann).await, 1_000);
    cell.sells("tea", 5).await;
    audit::assert_sound(&cell.database()).await;
    assert_eq!(audit::number(&cell.database(), "SELECT COUNT(*) FROM trade_order").await, 0);
    cell.place(order(&ann, "r-1", &[("tea", 5)])).await.expect("a refusal does not use up the request id");
}

#[tokio::test(flavor = "multi_thread")]
async fn prices_in_other_currencies_cannot_be_paid() {
    let cell = Cell::start().await;
    let mut product = crate::cell::product("imported", 100, 5);
    product.unit_price = Some(shop_proto::catalog_v1::Money { currency_code: "USD".into(), minor_units: 100 });
    let create = shop_proto::catalog_v1::CreateProductRequest { request_id: "c-1".into(), product: Some(product) };
    cell.catalog().create_product(create).await.expect("created");
    cell.sells("imported", 5).await;
    cell.sell("tea", 100, 5).await;
    let ann = cell.rich(1_000).await;
    for lines in [&[("imported", 1)][..], &[("tea", 1), ("imported", 1)]] {
        let refused = cell.place(order(&ann, "r-1", lines)).await.expect_err("not CNY");
        assert_shop(&refused, Code::FailedPrecondition, "CURRENCY_MISMATCH");
    }
    audit::assert_sound(&cell.database()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wallet_is_filled_once_per_request_and_never_over_its_limit() {
    let cell = Cell::start().await;
    let ann = cell.register().await;
    assert_eq!(balance(&cell, &ann).await, 0, "empty before the first top-up");
    let top_up = |request_id: &str, fen: i64| TopUpRequest {
        user_id: ann.clone(),
        request_id: request_id.into(),
        amount: Some(Money { currency_code: "CNY".into(), minor_units: fen }),
    };
    let first = cell.trade().top_up(top_up("t-1", 700)).await.expect("filled").into_inner();
    cell.trade().top_up(top_up("t-2", 50)).await.expect("filled");
    let again = cell.trade().top_up(top_up("t-1", 700)).await.expect("replayed").into_inner();
    assert_eq!(first, again, "the first answer, although there is more in it now");
    assert_eq!(balance(&cell, &ann).await, 750);
    let other = cell.trade().top_up(top_up("t-1", 701)).await.expect_err("another request");
    assert_mesh(&other, Code::FailedPrecondition, "IDEMPOTENCY_CONFLICT");
    audit::assert_sound(&cell.database()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_of_others_are_not_found() {
    let cell = Cell::start().await;
    cell.sell("tea", 100, 5).await;
    let (ann, bob) = (cell.rich(1_000).await, cell.rich(1_000).await);
    let placed = cell.place(order(&ann, "r-1", &[("tea", 1)])).await.expect("placed").order.expect("there");
    let asked = GetOrderRequest { user_id: bob, order_id: placed.order_id };
    let refused = cell.trade().get_order(asked).await.expect_err("not Bob's");
    assert_mesh(&refused, Code::NotFound, "NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_orders_are_stable_while_orders_are_placed() {
    let cell = Cell::start().await;
    cell.sell("tea", 1, 100).await;
    let ann = cell.rich(1_000).await;
    let mut placed = Vec::new();
    for n in 0..7 {
        let order = cell.place(order(&ann, &format!("r-{n}"), &[("tea", 1)])).await.expect("placed").order;
        placed.push(order.expect("there").order_id);
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    placed.reverse();
    let (mut seen, mut page_token) = (Vec::new(), String::new());
    for n in 0.. {
        let asked = ListOrdersRequest { user_id: ann.clone(), page_size: 3, page_token };
        let page = cell.trade().list_orders(asked).await.expect("at home").into_inner();
        seen.extend(page.orders.into_iter().map(|order| order.order_id));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
        cell.place(order(&ann, &format!("later-{n}"), &[("tea", 1)])).await.expect("placed");
    }
    assert_eq!(seen, placed, "newest first, none twice, none left out");
}
