#![doc = include_str!("../README.md")]

mod batch;
mod canonical;
mod compile;
mod error;
mod extract;
mod gather;
mod method;
mod options;
mod sets;
mod table;
mod wire;

pub use batch::{BatchError, BatchOf, ItemStatus, MAX_SPLIT_BYTES, Outcome, Part, Split};
pub use canonical::CanonicalKey;
pub use error::{Fault, PolicyError, PolicyErrors};
pub use extract::{ExtractError, IdempotencyKey, MAX_ELEMENTS, MAX_IDEMPOTENCY_KEY, RouteKey};
pub use gather::{Answer, Gather, Item};
pub use method::{
    BatchPolicy, CachePolicy, Criticality, HedgePolicy, Idempotency, LocalLogicPolicy, MethodPolicy, Scope,
};
pub use table::PolicyTable;
pub use wire::{WireError, check_message};
