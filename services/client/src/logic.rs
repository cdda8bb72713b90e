//! The shop's logic inside the client.

pub mod follow;
