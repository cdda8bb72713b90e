//! The lab as a library: what its experiments and the tests of whole processes share.

pub mod checker;
pub mod peers;
pub mod place_order;
pub mod results;
pub mod shoppers;
pub mod trade_db;
