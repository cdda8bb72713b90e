//! Protobuf at the edge: requests become strict types here, and answers messages.

mod catalog;
mod convert;
mod parse;
mod replication;

pub use catalog::Products;
pub(crate) use convert::piece_from;
pub use replication::Replication;

use crate::Error;
use convert::{change, product_from};
use service_runtime::Context;

/// Refuses what only the global cell does.
fn require_global(context: &Context) -> Result<(), Error> {
    context.require_global().map_err(|global| Error::NotGlobal { global })
}
