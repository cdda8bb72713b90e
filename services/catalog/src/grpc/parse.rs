//! From messages to catalog's types: every fault of a request is told at once.

use super::product_from;
use crate::{DEFAULT_PAGE, Error, MAX_BATCH, MAX_PAGE, domain::Product};
use shop_logic::{InvalidError, RequestId, Sku, Violations};
use shop_proto::catalog_v1 as pb;
use storage::PageSize;

/// A write of a product.
pub(super) struct Write {
    pub(super) request_id: RequestId,
    pub(super) product: Product,
}

pub(super) fn create(request: &pb::CreateProductRequest) -> Result<Write, Error> {
    write(&request.request_id, request.product.as_ref(), Violations::new())
}

pub(super) fn update(request: &pb::UpdateProductRequest) -> Result<Write, Error> {
    let mut violations = Violations::new();
    if request.product.as_ref().is_some_and(|product| !product.allotments.is_empty()) {
        violations.note("product.allotments", &"cannot be changed here, allowed is none");
    }
    write(&request.request_id, request.product.as_ref(), violations)
}

fn write(request_id: &str, product: Option<&pb::Product>, mut violations: Violations) -> Result<Write, Error> {
    let request_id = violations.take("request_id", RequestId::new(request_id));
    let product = violations.take("product", product.ok_or(InvalidError::Missing));
    let product = product.and_then(|product| product_from(product, &mut violations));
    let parts = request_id.zip(product).map(|(request_id, product)| Write { request_id, product });
    violations.finish(parts).map_err(Error::Invalid)
}

pub(super) fn sku(text: &str) -> Result<Sku, Error> {
    Sku::new(text).map_err(Violations::of("sku")).map_err(Error::Invalid)
}

pub(super) fn skus(texts: &[String]) -> Result<Vec<Sku>, Error> {
    let mut violations = Violations::new();
    let skus = violations.each("skus", texts, MAX_BATCH, Sku::new);
    violations.finish(skus).map_err(Error::Invalid)
}

pub(super) fn page_size(asked: i32) -> Result<PageSize, Error> {
    let size = PageSize::from_request(asked, DEFAULT_PAGE, MAX_PAGE);
    size.map_err(Violations::of("page_size")).map_err(Error::Invalid)
}
