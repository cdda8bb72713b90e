//! `shop.follow.v1`: who follows whom.

pub use crate::generated::shop::follow::v1::*;
