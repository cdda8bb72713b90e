#![doc = include_str!("../README.md")]

pub mod campaign;
mod currency;
mod follow;
mod money;
mod name;
mod order;
mod preview;
mod violation;

pub use campaign::{Campaign, Campaigns};
pub use currency::Currency;
pub use follow::{FollowChange, Following};
pub use money::{Money, MoneyError};
pub use name::{
    CampaignId, CouponCode, DisplayName, EventKind, InvalidError, OpaqueId, RequestId, Sku, Subject, Title, UserId,
};
pub use order::{Line, Lines, PriceError, PricedLine, PricedOrder, Quantity, price};
pub use preview::{
    Asked, Preview, PreviewError, PreviewKey, PreviewKeys, PreviewStanding, PreviewTerms, check_preview,
};
pub use violation::Violations;
