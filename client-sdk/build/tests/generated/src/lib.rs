//! Code generated of protos that try everything.
#![warn(clippy::pedantic)]

client_sdk::include_protos!();

/// Clients whose messages are elsewhere.
pub mod clients {
    include!(concat!(env!("OUT_DIR"), "/clients/protos.rs"));
}

/// The same protos with all that tonic has, and `Bytes` for bytes.
pub mod with_tonic {
    #![allow(clippy::all, clippy::pedantic, unused_qualifications, reason = "tonic's code is not ours")]
    include!(concat!(env!("OUT_DIR"), "/tonic/protos.rs"));
}
