#![doc = include_str!("../README.md")]

pub mod domain;
mod error;
pub mod following;
mod grpc;
mod service;
pub mod store;

pub use error::Error;
pub use service::Member;

/// Domain of the shop's own refusals.
const DOMAIN: &str = "shop.cellmesh";
/// Most items of a batch.
const MAX_BATCH: usize = 100;
const DEFAULT_PAGE: u32 = 20;
const MAX_PAGE: u32 = 100;

/// Most targets that one user follows.
pub const MAX_FOLLOWING: i64 = 100_000;
/// Most targets of one call.
pub const MAX_BATCH_FOLLOW: usize = 1_000;
const DEFAULT_FOLLOW_PAGE: u32 = 100;
const MAX_FOLLOW_PAGE: u32 = 1_000;
