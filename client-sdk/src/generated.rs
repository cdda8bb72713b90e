//! What generated code needs; not meant to be used by hand.

mod gather;
mod key;
mod split;

pub use crate::fanout::{AnyPart, Part, fan_out};
pub use futures_util::Stream;
pub use gather::{Answer, Gather, Item, ItemStatus};
pub use key::{KeyField, common_key, key};
pub use mesh_policy::CanonicalKey;
pub use prost;
pub use prost_types;
pub use split::{merge, pick};
