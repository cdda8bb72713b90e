#![doc = include_str!("../README.md")]

mod error;
mod grpc;
mod seed;
mod service;
mod set;
pub mod store;

pub use error::Error;
pub use service::Campaigns;
pub use set::CampaignSet;

/// Domain of the shop's ErrorInfo.
const DOMAIN: &str = "shop.cellmesh";
/// Most items of a batch.
const MAX_BATCH: usize = 100;
const DEFAULT_PAGE: u32 = 20;
const MAX_PAGE: u32 = 100;
/// Most campaigns that are told of one product.
const MAX_OF_PRODUCT: i64 = 100;
