#![doc = include_str!("../README.md")]

pub mod domain;
mod error;
mod event;
mod follow;
mod grpc;
mod redemptions;
mod service;
pub mod store;

pub use error::Error;
pub use event::{ORDER_PLACED, consumer};
pub use service::Trade;

use shop_logic::Currency;

/// Domain of the shop's ErrorInfo.
const DOMAIN: &str = "shop.cellmesh";
/// What wallets hold.
pub const WALLET_CURRENCY: Currency = Currency::CNY;
/// Most a wallet may hold, in minor units.
pub const WALLET_MAX: i64 = 1_000_000_000_000_000;
/// Most money put into a wallet at once, in minor units.
pub const MAX_TOP_UP: i64 = 100_000_000;
/// How long a preview's prices hold, in milliseconds.
pub const PREVIEW_TTL_MS: i64 = 5 * 60 * 1000;
/// Most items of a batch.
const MAX_BATCH: usize = 100;
const DEFAULT_PAGE: u32 = 20;
const MAX_PAGE: u32 = 100;
