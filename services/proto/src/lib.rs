#![doc = include_str!("../README.md")]

mod generated;

pub mod campaign_v1;
pub mod catalog_v1;
pub mod follow_v1;
pub mod member_v1;
pub mod trade_v1;

/// `shop/{campaign,catalog,follow,member,trade}/v1` and everything they import, as an encoded
/// `google.protobuf.FileDescriptorSet` with
/// all custom options and comments: what reflection serves and `mesh-policy` reads.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/shop.binpb"));
