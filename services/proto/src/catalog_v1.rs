//! `shop.catalog.v1`: products, and their way from the global cell into the others.

pub use crate::generated::shop::catalog::v1::*;
