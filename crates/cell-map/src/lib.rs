#![doc = include_str!("../README.md")]

mod admit;
mod bucket;
mod cell;
mod diff;
mod distance;
mod draft;
mod epoch;
mod error;
mod explain;
mod guard;
mod id;
mod key;
mod layout;
mod map;
mod mint;
pub mod ownership;
mod pin;
mod wanted;

pub use admit::{Admission, AdmitError, admit};
pub use bucket::{BUCKET_COUNT, BucketId, KeyHash};
pub use cell::{Cell, CellIndex, CellState};
pub use diff::{BucketMove, MapDiff, PinChange, diff};
pub use draft::{Applied, MapDraft};
pub use epoch::{BucketEpoch, Incarnation, MapEpoch, OwnerEpochs, UserEpoch};
pub use error::MapError;
pub use explain::Explanation;
pub use guard::{Guard, GuardError, Moved, check_guard};
pub use id::{CellId, IdError, RegionId};
pub use key::{KeyError, UserKey};
pub use map::{CellMap, ContentHash, DecidedBy, Home};
pub use mint::{MintError, MintedId, mint};
pub use pin::Pin;
pub use wanted::{WantedCells, WantedError, told_changes};
