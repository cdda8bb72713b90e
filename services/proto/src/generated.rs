//! Code generated from the .proto files; the modules beside this one are its names for the outside.
#![allow(missing_docs, unused_qualifications, clippy::all, clippy::pedantic, reason = "not written by hand")]

include!(concat!(env!("OUT_DIR"), "/shop.rs"));
