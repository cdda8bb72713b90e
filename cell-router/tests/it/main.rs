//! The router's promises, kept by routers in this process with tiny gRPC servers behind them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod batches;
mod directory;
mod ending;
mod hosting;
mod limits;
mod own_services;
mod owners;
mod resending;
mod routing;
mod sdk;
mod streams;
mod support;
mod tls;
