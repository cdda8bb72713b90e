#![doc = include_str!("../README.md")]

mod logic;

pub use logic::{
    campaign::{CampaignFeed, InForce},
    catalog::{CatalogFeed, Prices},
    coupon::CouponCheck,
    follow::{FollowCheck, FollowFeed},
    preview::PreviewCheck,
    quote::PriceQuote,
    redemption::{Redeemed, RedemptionFeed},
};

/// Clients of `shop.campaign.v1`.
pub mod campaign {
    client_sdk::include_proto!("shop.campaign.v1");
}

/// Clients of `shop.catalog.v1`.
pub mod catalog {
    client_sdk::include_proto!("shop.catalog.v1");
}

/// Clients of `shop.follow.v1`.
pub mod follow {
    client_sdk::include_proto!("shop.follow.v1");
}

/// Clients of `shop.member.v1`.
pub mod member {
    client_sdk::include_proto!("shop.member.v1");
}

/// Clients of `shop.trade.v1`.
pub mod trade {
    client_sdk::include_proto!("shop.trade.v1");
}
