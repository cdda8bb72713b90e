//! The promises of generated code.
#![allow(clippy::unwrap_used, reason = "a test may stop at anything unexpected")]

#[macro_use]
mod arbitrary;
mod config;
mod gather;
mod keys;
mod mock;
mod odd;
mod split;
