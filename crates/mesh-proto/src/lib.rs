#![doc = include_str!("../README.md")]

mod generated;

pub mod control_v1;
pub mod convert;
pub mod map_v1;
pub mod policy_v1;

/// `cellmesh/{control,map,policy}/v1` and everything they import, as an encoded `google.protobuf.FileDescriptorSet` with
/// all custom options and comments: what reflection serves and `mesh-policy` reads.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/cellmesh.binpb"));
