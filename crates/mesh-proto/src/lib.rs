//! mesh-proto
