//! The lab as a library: what its experiments and the tests of whole processes share.

pub mod checker;
pub mod guide;
pub mod peers;
pub mod place_order;
pub mod processes;
pub mod results;
pub mod rows;
pub mod sdk;
pub mod shoppers;
pub mod split;
pub mod trade_db;
