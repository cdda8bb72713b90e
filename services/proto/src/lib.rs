//! shop-proto
