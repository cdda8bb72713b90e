//! Between messages and the mesh's own types: parsed once, at the edge.

mod map;

pub use map::MapMessageError;
