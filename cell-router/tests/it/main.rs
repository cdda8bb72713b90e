//! The router's promises, kept by routers in this process with tiny gRPC servers behind them.

mod batches;
mod ending;
mod limits;
mod own_services;
mod owners;
mod resending;
mod routing;
mod streams;
mod support;
