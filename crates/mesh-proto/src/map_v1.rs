//! `cellmesh.map.v1`: the cell map on the wire and in files. Services and tools use [`cell_map::CellMap`], made by
//! [`crate::convert`].

pub use crate::generated::cellmesh::map::v1::*;
