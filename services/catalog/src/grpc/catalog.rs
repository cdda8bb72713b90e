//! Products.

use super::{parse, require_global};
use crate::{
    Error,
    domain::Product,
    feed::Feed,
    store::{self, POSITION},
};
use mesh_layers::error::MeshError;
use prost::Message;
use service_runtime::{Context, status};
use shop_logic::{Sku, Violations};
use shop_proto::{
    catalog_v1::{self as pb, catalog_service_server::CatalogService},
    trade_v1::{BatchGetStockRequest, stock_service_client::StockServiceClient},
};
use std::collections::HashMap;
use storage::{BoxFuture, IdempotencyKey, PageScope, Tx, WorkError};
use tonic::{Code, Request, Response, Status, async_trait};
use tracing::Instrument as _;

const CREATE_PRODUCT: &str = "/shop.catalog.v1.CatalogService/CreateProduct";
const UPDATE_PRODUCT: &str = "/shop.catalog.v1.CatalogService/UpdateProduct";
const LIST_PRODUCTS: &str = "/shop.catalog.v1.CatalogService/ListProducts";

/// `shop.catalog.v1.CatalogService`.
#[derive(Clone)]
pub struct Products {
    context: Context,
    feed: Feed,
}

impl Products {
    /// The service of this cell; `feed` tells followers of its writes.
    #[must_use]
    pub const fn new(context: Context, feed: Feed) -> Self {
        Self { context, feed }
    }

    /// Products by SKU, from this cell's copy.
    async fn find(&self, skus: Vec<Sku>) -> Result<HashMap<Sku, Product>, Status> {
        let read = self.context.db.global_read(move |tx| {
            Box::pin(async move {
                let standing = POSITION.standing(tx).await?;
                Ok((standing, store::find(tx.conn(), &skus).await?))
            })
        });
        let (standing, products) = read.await.map_err(status::<Error>)?;
        standing.ok_or(Error::NotReady)?;
        Ok(products)
    }

    /// Writes and wakes the followers. A transaction goes on when its caller leaves, and so does what follows on it.
    async fn write<T: Message + Default + 'static>(
        &self,
        key: IdempotencyKey,
        work: impl for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T, WorkError<Error>>> + Send + 'static,
    ) -> Result<T, Status> {
        let Self { context, feed } = self.clone();
        let write = async move {
            let written = context.db.global_idempotent(key, work).await;
            feed.changed();
            written
        };
        let written = tokio::spawn(write.in_current_span()).await;
        let written = written.map_err(|error| MeshError::internal(format!("write was cut off: {error}")))?;
        Ok(written.map_err(status::<Error>)?.into_inner())
    }
}

#[async_trait]
impl CatalogService for Products {
    async fn create_product(
        &self,
        request: Request<pb::CreateProductRequest>,
    ) -> Result<Response<pb::CreateProductResponse>, Status> {
        let request = request.into_inner();
        let parse::Write { request_id, product } = parse::create(&request)?;
        require_global(&self.context)?;
        let key = IdempotencyKey::of(CREATE_PRODUCT, request_id.as_str(), &request)
            .map_err(Violations::of("request_id"))
            .map_err(Error::Invalid)?;
        let context = self.context.clone();
        let write = self.write(key, move |tx| {
            Box::pin(async move {
                // Once more where it is certain: since the check above, this cell may have begun to follow another.
                require_global(&context).map_err(WorkError::Business)?;
                let product = store::create(tx, &product).await?;
                Ok(pb::CreateProductResponse { product: Some((&product).into()) })
            })
        });
        write.await.map(Response::new)
    }

    async fn update_product(
        &self,
        request: Request<pb::UpdateProductRequest>,
    ) -> Result<Response<pb::UpdateProductResponse>, Status> {
        let request = request.into_inner();
        let parse::Write { request_id, product } = parse::update(&request)?;
        require_global(&self.context)?;
        let key = IdempotencyKey::of(UPDATE_PRODUCT, request_id.as_str(), &request)
            .map_err(Violations::of("request_id"))
            .map_err(Error::Invalid)?;
        let context = self.context.clone();
        let write = self.write(key, move |tx| {
            Box::pin(async move {
                // Once more where it is certain: since the check above, this cell may have begun to follow another.
                require_global(&context).map_err(WorkError::Business)?;
                let product = store::update(tx, &product).await?;
                Ok(pb::UpdateProductResponse { product: Some((&product).into()) })
            })
        });
        write.await.map(Response::new)
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
        let read = self.context.db.global_read(move |tx| {
            Box::pin(async move {
                let standing = POSITION.standing(tx).await?;
                let after = after.as_deref().unwrap_or_default();
                Ok((standing, store::list(tx.conn(), after, size.limit()).await?))
            })
        });
        let (standing, products) = read.await.map_err(status::<Error>)?;
        standing.ok_or(Error::NotReady)?;
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
