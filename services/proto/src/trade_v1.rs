//! `shop.trade.v1`: orders, what they cost, wallets and the cell's stock.

mod convert;

pub use crate::generated::shop::trade::v1::*;
