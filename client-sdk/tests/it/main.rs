//! The client's promises about the network, kept against servers in this process that do what a test wants.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod answers;
mod batches;
mod breaking;
mod channel;
mod colocated;
mod deadlines;
mod depot;
mod outage;
mod owners;
mod routing;
mod server;
mod streams;
mod telling;
mod world;
