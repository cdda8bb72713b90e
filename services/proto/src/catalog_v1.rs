//! `shop.catalog.v1`: products, and their way from the global cell into the others.

mod convert;

pub use crate::generated::shop::catalog::v1::*;
pub use convert::unit_price;
