//! `cellmesh.control.v1`: the control API that every router serves, and the one that changes the map; clients and servers.

pub use crate::generated::cellmesh::control::v1::*;
