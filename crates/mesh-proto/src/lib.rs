#![doc = include_str!("../README.md")]

mod generated;

pub mod control_v1;
pub mod convert;
pub mod map_v1;
pub mod policy_v1;

/// `cellmesh/{control,map,policy}/v1` and everything they import, as an encoded `google.protobuf.FileDescriptorSet` with
/// all custom options and comments: what reflection serves and `mesh-policy` reads.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/cellmesh.binpb"));

/// `cellmesh.control.v1.MapAdminService` alone, in the same form: the one of these services that routers do not answer themselves
/// but route.
pub const MAP_ADMIN_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/map_admin.binpb"));
