#![doc = include_str!("../README.md")]

pub mod domain;
mod error;
mod grpc;
mod service;
pub mod store;

pub use error::Error;
pub use service::Member;

/// Most items of a batch.
const MAX_BATCH: usize = 100;
const DEFAULT_PAGE: u32 = 20;
const MAX_PAGE: u32 = 100;
