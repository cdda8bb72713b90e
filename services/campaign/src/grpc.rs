//! Protobuf at the edge: requests become strict types here, and answers messages.

mod campaigns;
mod convert;
mod parse;
mod replication;

pub use campaigns::Campaigns;
pub(crate) use convert::message_from;
pub use replication::Replication;

use convert::change;
