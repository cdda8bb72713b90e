//! map-store
