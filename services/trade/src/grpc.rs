//! Protobuf at the edge: requests become strict types here, and answers messages.

mod convert;
mod parse;
mod pricing;
mod stock;
mod trade;

pub use pricing::Pricing;
pub use stock::Stocks;
pub use trade::Orders;
