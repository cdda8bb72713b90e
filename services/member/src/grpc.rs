//! Protobuf at the edge: requests become strict types here, and answers messages.

mod activity;
mod convert;
mod follow;
mod member;
mod parse;

pub use activity::Activities;
pub use follow::Follows;
pub use member::Members;
