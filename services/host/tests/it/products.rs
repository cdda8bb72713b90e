use crate::cell::{Cell, Setup, assert_mesh, assert_shop, product};
use shop_proto::catalog_v1::{
    CreateProductRequest, GetProductRequest, GetStockRequest, ListProductsRequest, Product, UpdateProductRequest,
};
use tonic::{Code, Status};

async fn list(cell: &Cell, page_size: i32) -> Vec<Product> {
    let (mut products, mut page_token) = (Vec::new(), String::new());
    loop {
        let asked = ListProductsRequest { page_size, page_token };
        let page = cell.catalog().list_products(asked).await.expect("listed").into_inner();
        assert!(page.products.len() <= page_size as usize);
        products.extend(page.products);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return products;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_seed_is_written_once() {
    let cell = Setup { seed: true, ..Setup::of("bj-1") }.start().await;
    cell.ready().await;
    let seeded = list(&cell, 7).await;
    assert_eq!(seeded.len(), 20);
    assert!(seeded.is_sorted_by_key(|product| product.sku.clone()));
    assert!(seeded.iter().all(|product| product.allotments.len() == 2), "a share for each cell of the map");
    let (dir, _own) = cell.stop().await;
    let cell = Setup { seed: true, dir: Some(dir), ..Setup::of("bj-1") }.start().await;
    cell.ready().await;
    assert_eq!(list(&cell, 100).await, seeded, "a restart changes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn products_are_written_and_read() {
    let cell = Cell::start().await;
    let create = |request_id: &str, product: Product| CreateProductRequest {
        request_id: request_id.into(),
        product: Some(product),
    };
    let written =
        cell.catalog().create_product(create("c-1", product("tea", 100, 7))).await.expect("created").into_inner();
    let again =
        cell.catalog().create_product(create("c-1", product("tea", 100, 7))).await.expect("replayed").into_inner();
    assert_eq!(written, again);
    assert_eq!(written.product, Some(Product { version: 1, ..product("tea", 100, 7) }));
    let twice = cell.catalog().create_product(create("c-2", product("tea", 100, 7))).await.expect_err("exists");
    assert_mesh(&twice, Code::AlreadyExists, "ALREADY_EXISTS");

    let update = |sku: &str| {
        let product = Product { allotments: vec![], ..product(sku, 120, 0) };
        UpdateProductRequest { request_id: format!("u-{sku}"), product: Some(product) }
    };
    let updated = cell.catalog().update_product(update("tea")).await.expect("updated").into_inner().product;
    assert_eq!(updated, Some(Product { version: 2, ..product("tea", 120, 7) }), "allotments stay");
    let found = cell.catalog().get_product(GetProductRequest { sku: "tea".into() }).await.expect("there").into_inner();
    assert_eq!(found.product, updated);
    let none = cell.catalog().update_product(update("none")).await.expect_err("not there");
    assert_mesh(&none, Code::NotFound, "NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_is_asked_of_trade() {
    let cell = Cell::start().await;
    cell.sell("tea", 100, 7).await;
    let asked = |sku: &str| GetStockRequest { sku: sku.into() };
    let stock = cell.catalog().get_stock(asked("tea")).await.expect("counted").into_inner();
    assert_eq!((&*stock.cell, stock.available), ("bj-1", 7));
    let none = cell.catalog().get_stock(asked("none")).await.expect_err("not there");
    assert_mesh(&none, Code::NotFound, "NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_cells_write_no_products_and_serve_none_before_their_first_snapshot() {
    let cell = Setup::of("sh-1").start().await;
    let create = CreateProductRequest { request_id: "c-1".into(), product: Some(product("tea", 100, 7)) };
    let refused: Status = cell.catalog().create_product(create).await.expect_err("not global");
    assert_shop(&refused, Code::FailedPrecondition, "NOT_GLOBAL_CELL");
    let refused = cell.catalog().list_products(ListProductsRequest::default()).await.expect_err("nothing yet");
    assert_mesh(&refused, Code::Unavailable, "UNAVAILABLE");
    let waits_for = cell.running.context().readiness.waits_for();
    assert_eq!(
        waits_for,
        ["catalog: first snapshot", "campaign: first snapshot", "trade: catalogue", "trade: campaigns"]
    );
}
