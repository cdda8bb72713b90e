use crate::cell::{Cell, assert_mesh, info, key_of, order};
use shop_proto::{
    catalog_v1::BatchGetProductsRequest,
    member_v1::BatchGetMembersRequest,
    trade_v1::{BatchGetOrdersRequest, BatchGetStockRequest},
};
use tonic::Code;

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_members_answers_each_for_himself() {
    let cell = Cell::start().await;
    let (ann, stranger, foreign) = (cell.register().await, key_of(&cell.map, "bj-1"), key_of(&cell.map, "sh-1"));
    let user_ids = vec![ann.clone(), foreign.clone(), stranger, ann];
    let answer = cell.member().batch_get_members(BatchGetMembersRequest { user_ids: user_ids.clone() }).await;
    let results = answer.expect("partly at home here").into_inner().results;
    let asked: Vec<&str> = results.iter().map(|result| &*result.user_id).collect();
    assert_eq!(asked, user_ids, "in the order asked");
    let codes: Vec<Code> = results.iter().map(|result| Code::from(result.code)).collect();
    assert_eq!(codes, [Code::Ok, Code::FailedPrecondition, Code::NotFound, Code::Ok]);
    assert!(results.iter().all(|result| result.member.is_some() == (result.code == 0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_foreign_members_is_refused_as_a_whole() {
    let cell = Cell::start().await;
    let foreign = key_of(&cell.map, "sh-1");
    let user_ids = vec![foreign.clone(), foreign];
    let refused = cell.member().batch_get_members(BatchGetMembersRequest { user_ids }).await.expect_err("foreign");
    assert_mesh(&refused, Code::FailedPrecondition, "WRONG_CELL");
    assert_eq!(info(&refused, "owner").as_deref(), Some("sh-1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_of_orders_products_and_stock_keep_the_order_asked() {
    let cell = Cell::start().await;
    cell.sell("tea", 100, 10).await;
    let ann = cell.rich(1_000).await;
    let placed = cell.place(order(&ann, "r-1", &[("tea", 2)])).await.expect("placed").order.expect("there");

    let order_ids = vec!["none".to_owned(), placed.order_id.clone()];
    let asked = BatchGetOrdersRequest { user_id: ann, order_ids };
    let orders = cell.trade().batch_get_orders(asked).await.expect("at home").into_inner().results;
    assert_eq!((Code::from(orders[0].code), orders[0].order.as_ref()), (Code::NotFound, None));
    assert_eq!((Code::from(orders[1].code), orders[1].order.as_ref()), (Code::Ok, Some(&placed)));

    let skus = vec!["none".to_owned(), "tea".to_owned()];
    let asked = BatchGetProductsRequest { skus: skus.clone() };
    let products = cell.catalog().batch_get_products(asked).await.expect("here").into_inner().results;
    assert_eq!(Code::from(products[0].code), Code::NotFound);
    assert_eq!(products[1].product.as_ref().map(|product| &*product.sku), Some("tea"));

    let stock = cell.stock().batch_get_stock(BatchGetStockRequest { skus }).await.expect("here").into_inner();
    assert_eq!(stock.cell, "bj-1");
    assert_eq!(stock.levels.iter().map(|level| level.available).collect::<Vec<_>>(), [0, 8]);
}
