//! The promises of mesh-policy.
#![allow(clippy::unwrap_used, reason = "a test may stop at anything unexpected")]

mod agree;
mod batch;
mod gather;
mod golden;
mod hostile;
mod refusal;
mod sources;
mod table;
mod wire;
