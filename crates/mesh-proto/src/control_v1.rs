//! `cellmesh.control.v1`: the control API that every router serves, client and server.

pub use crate::generated::cellmesh::control::v1::*;
