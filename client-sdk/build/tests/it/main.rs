//! The promises of client-sdk-build. That what it generates compiles and does what it should: see `generated`, beside this.
#![allow(clippy::unwrap_used, reason = "a test may stop at anything unexpected")]

mod golden;
mod hostile;
mod protos;
mod refusal;

/// The proto of the stranger's crate.
const NOTES: &str = include_str!("../../../stranger/proto/acme/notes/v1/notes.proto");
