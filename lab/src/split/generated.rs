//! Code generated from the lab's protos.
#![allow(missing_docs, unused_qualifications, clippy::all, clippy::pedantic, reason = "not written by hand")]

include!(concat!(env!("OUT_DIR"), "/lab.rs"));
