//! shop-logic
