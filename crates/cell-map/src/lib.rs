#![doc = include_str!("../README.md")]

mod bucket;
mod epoch;
mod id;
mod key;

pub use bucket::{BUCKET_COUNT, BucketId};
pub use epoch::{BucketEpoch, Incarnation, MapEpoch, OwnerEpochs, UserEpoch};
pub use id::{CellId, IdError, RegionId};
pub use key::{KeyError, UserKey};
