//! The runtime around a small service, over real sockets.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world has failed")]

mod answers;
mod buffer;
mod drain;
mod edges;
mod events;
mod hosted;
mod map_admin;
mod maps;
mod notes;
mod streams;
mod telemetry;
mod world;
