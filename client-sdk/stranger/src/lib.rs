//! Notes of users: what `proto/acme/notes/v1/notes.proto` says, in Rust.
#![deny(warnings, missing_docs)]

client_sdk::include_proto!("acme.notes.v1");
