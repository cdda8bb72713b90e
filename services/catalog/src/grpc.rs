//! Protobuf at the edge: requests become strict types here, and answers messages.

mod catalog;
mod convert;
mod parse;
mod replication;

pub use catalog::Products;
pub(crate) use convert::message_from;
pub use replication::Replication;

use convert::{change, product_from};
