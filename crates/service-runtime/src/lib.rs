#![doc = include_str!("../README.md")]

pub mod admin;
pub mod config;
pub mod host;
pub mod metrics;
pub mod readiness;
pub mod server;
pub mod telemetry;

pub mod bootstrap;
mod context;
mod data_set;
mod error;
mod maps;
mod mesh;
mod outbox;
mod replica;
mod routes;
mod run;
mod service;
mod status;
mod user_stream;

pub use config::{Config, ConfigError};
pub use context::{Clock, Context};
pub use data_set::{Copied, DataSet, SetFault, SetResult, SetStream, apply};
pub use error::RuntimeError;
pub use maps::{Maps, maps};
pub use mesh::{Hosted, MeshChannel};
pub use metrics::Metrics;
pub use outbox::Consumer;
pub use readiness::{Gate, Readiness};
pub use replica::CopyError;
pub use run::{Bound, Overrides, Running, bind, run, run_with};
pub use service::{Parts, Service};
pub use status::{bad_field, refusal_code, status};
pub use tokio_util::sync::CancellationToken;
pub use user_stream::{At, Found, Told, UserFeed};
