//! `shop.member.v1`: members and their activities.

pub use crate::generated::shop::member::v1::*;
