#![doc = include_str!("../README.md")]

pub mod budget;
pub mod call;
pub mod error;
pub mod frame;
pub mod hint;
pub mod layer;
pub mod metadata;
pub mod propagate;
pub mod sieve;
pub mod timeout;
pub mod trace;
pub mod trust;

pub use call::CallContext;
pub use error::{MeshError, Reason};
pub use trust::Listener;
