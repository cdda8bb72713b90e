//! Protobuf at the edge: requests become strict types here, and answers messages.

mod convert;
mod parse;
mod stock;
mod trade;

pub use stock::Stocks;
pub use trade::Orders;
