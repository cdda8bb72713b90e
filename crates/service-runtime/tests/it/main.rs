//! The runtime around a small service, over real sockets.

mod answers;
mod drain;
mod edges;
mod events;
mod notes;
mod telemetry;
mod world;
