//! `shop.campaign.v1`: what makes orders cheaper, and its way from the global cell into the others.

pub use crate::generated::shop::campaign::v1::*;
