//! mesh-layers
