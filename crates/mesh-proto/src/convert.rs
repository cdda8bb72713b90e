//! Between messages and the mesh's own types: parsed once, at the edge.

mod map;
mod wanted;

pub use map::MapMessageError;
