//! `shop.trade.v1`: orders, wallets and the cell's stock.

pub use crate::generated::shop::trade::v1::*;
