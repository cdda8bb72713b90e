//! Products.

use super::parse;
use crate::{Error, domain::Product, set::Catalogue, store};
use prost::Message;
use service_runtime::{Context, Copied};
use shop_logic::{Sku, Violations};
use shop_proto::{
    catalog_v1::{self as pb, catalog_service_server::CatalogService},
    trade_v1::{BatchGetStockRequest, stock_service_client::StockServiceClient},
};
use std::collections::HashMap;
use storage::{BoxFuture, IdempotencyKey, PageScope, Tx};
use tonic::{Code, Request, Response, Status, async_trait};

const CREATE_PRODUCT: &str = "/shop.catalog.v1.CatalogService/CreateProduct";
const UPDATE_PRODUCT: &str = "/shop.catalog.v1.CatalogService/UpdateProduct";
const LIST_PRODUCTS: &str = "/shop.catalog.v1.CatalogService/ListProducts";

/// `shop.catalog.v1.CatalogService`.
#[derive(Clone, Debug)]
pub struct Products {
    context: Context,
    products: Copied<Catalogue>,
}

impl Products {
    /// The service of this cell.
    #[must_use]
    pub const fn new(context: Context, products: Copied<Catalogue>) -> Self {
        Self { context, products }
    }

    /// Products by SKU, from this cell's copy.
    async fn find(&self, skus: Vec<Sku>) -> Result<HashMap<Sku, Product>, Status> {
        self.products.read(move |tx| Box::pin(async move { store::find(tx.conn(), &skus).await })).await
    }

    /// Writes a product in the global cell, once for each request id.
    async fn write<T: Message + Default + 'static>(
        &self,
        method: &'static str,
        request: &impl Message,
        write: parse::Write,
        store: impl for<'t> FnOnce(&'t mut Tx, &'t Product) -> BoxFuture<'t, store::Result<Product>> + Send + 'static,
        answer: fn(pb::Product) -> T,
    ) -> Result<Response<T>, Status> {
        let parse::Write { request_id, product } = write;
        let key = IdempotencyKey::of(method, request_id.as_str(), request)
            .map_err(Violations::of("request_id"))
            .map_err(Error::Invalid)?;
        let written = self
            .products
            .write(key, move |tx| Box::pin(async move { Ok(answer((&store(tx, &product).await?).into())) }));
        Ok(Response::new(written.await?))
    }
}

#[async_trait]
impl CatalogService for Products {
    async fn create_product(
        &self,
        request: Request<pb::CreateProductRequest>,
    ) -> Result<Response<pb::CreateProductResponse>, Status> {
        let request = request.get_ref();
        let answer = |product| pb::CreateProductResponse { product: Some(product) };
        let write = parse::create(request)?;
        self.write(CREATE_PRODUCT, request, write, |tx, product| Box::pin(store::create(tx, product)), answer).await
    }

    async fn update_product(
        &self,
        request: Request<pb::UpdateProductRequest>,
    ) -> Result<Response<pb::UpdateProductResponse>, Status> {
        let request = request.get_ref();
        let answer = |product| pb::UpdateProductResponse { product: Some(product) };
        let write = parse::update(request)?;
        self.write(UPDATE_PRODUCT, request, write, |tx, product| Box::pin(store::update(tx, product)), answer).await
    }

    async fn get_product(
        &self,
        request: Request<pb::GetProductRequest>,
    ) -> Result<Response<pb::GetProductResponse>, Status> {
        let sku = parse::sku(&request.get_ref().sku)?;
        let product = self.find(vec![sku.clone()]).await?.remove(&sku).ok_or(Error::NotFound(sku))?;
        Ok(Response::new(pb::GetProductResponse { product: Some((&product).into()) }))
    }

    async fn batch_get_products(
        &self,
        request: Request<pb::BatchGetProductsRequest>,
    ) -> Result<Response<pb::BatchGetProductsResponse>, Status> {
        let skus = parse::skus(&request.get_ref().skus)?;
        let products = self.find(skus.clone()).await?;
        let results = skus.into_iter().map(|sku| match products.get(&sku) {
            Some(product) => {
                pb::ProductResult { sku: sku.to_string(), product: Some(product.into()), ..Default::default() }
            }
            None => pb::ProductResult {
                sku: sku.to_string(),
                product: None,
                code: Code::NotFound.into(),
                message: Error::NotFound(sku).to_string(),
            },
        });
        Ok(Response::new(pb::BatchGetProductsResponse { results: results.collect() }))
    }

    async fn list_products(
        &self,
        request: Request<pb::ListProductsRequest>,
    ) -> Result<Response<pb::ListProductsResponse>, Status> {
        let request = request.into_inner();
        let size = parse::page_size(request.page_size)?;
        let scope = PageScope { method: LIST_PRODUCTS, user: None, filter: &[] };
        let after: Option<String> = scope
            .open(&self.context.seal, &request.page_token)
            .map_err(Violations::of("page_token"))
            .map_err(Error::Invalid)?;
        let read = self.products.read(move |tx| {
            Box::pin(async move { store::list(tx.conn(), after.as_deref().unwrap_or_default(), size.limit()).await })
        });
        let products = read.await?;
        let (products, next) = size.cut(products, |product: &Product| product.sku.to_string());
        Ok(Response::new(pb::ListProductsResponse {
            products: products.iter().map(Into::into).collect(),
            next_page_token: next.map(|sku| scope.seal(&self.context.seal, &sku)).unwrap_or_default(),
        }))
    }

    /// Stock is trade's: asked there, without a socket where both share a process.
    async fn get_stock(&self, request: Request<pb::GetStockRequest>) -> Result<Response<pb::GetStockResponse>, Status> {
        let sku = parse::sku(&request.get_ref().sku)?;
        if self.find(vec![sku.clone()]).await?.is_empty() {
            return Err(Error::NotFound(sku).into());
        }
        let asked = BatchGetStockRequest { skus: vec![sku.to_string()] };
        let stock = StockServiceClient::new(self.context.mesh.clone()).batch_get_stock(asked).await?.into_inner();
        let available = stock.levels.first().map_or(0, |level| level.available);
        Ok(Response::new(pb::GetStockResponse { sku: sku.to_string(), cell: stock.cell, available }))
    }
}
