//! `shop.campaign.v1`: what makes orders cheaper, and its way from the global cell into the others.

mod convert;

pub use crate::generated::shop::campaign::v1::*;
pub use convert::{campaign_from, paused};
