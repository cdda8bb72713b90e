//! `cellmesh.policy.v1`: the messages of the policy options. prost knows no extensions: the options themselves are read by
//! `mesh-policy` from the descriptor set's bytes.

pub use crate::generated::cellmesh::policy::v1::*;
