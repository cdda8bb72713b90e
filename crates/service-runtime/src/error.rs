//! Why a process cannot start or go on.

use crate::{config::ConfigError, telemetry::TelemetryError};

/// Why a process cannot start. All of these are for an operator to read.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// Bad configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A value of the configuration that only its user can judge.
    #[error("configuration: {0}")]
    Value(String),
    /// Bad telemetry configuration.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// A listener's address cannot be bound.
    #[error("key \"listen.{listener}\": cannot listen on {address}: {error}")]
    Listen {
        /// `front`, `peer` or `admin`.
        listener: &'static str,
        /// The address.
        address: std::net::SocketAddr,
        /// Why not.
        error: std::io::Error,
    },
    /// The map is missing or unreadable.
    #[error("key \"map.file\": {0}")]
    Map(String),
    /// The descriptor sets of the services are not consistent.
    #[error("policy: {0}")]
    Policy(String),
    /// The database does not open or cannot be made ready.
    #[error("database \"{path}\": {error}")]
    Database {
        /// Its file.
        path: String,
        /// Why not.
        error: storage::StorageError,
    },
    /// A table of a service holds users' data and no participant would move it (OWN-13).
    #[error("services: {0}")]
    Participants(storage::CoverageError),
    /// A service does not start.
    #[error("service \"{service}\": {error}")]
    Service {
        /// Its name.
        service: &'static str,
        /// Why not.
        error: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The ready file cannot be written.
    #[error("--ready-file \"{path}\": {error}")]
    ReadyFile {
        /// The file.
        path: String,
        /// Why not.
        error: std::io::Error,
    },
    /// A part that everything else needs has ended.
    #[error("{0} ended unexpectedly")]
    Ended(&'static str),
    /// The operating system refuses what every process needs.
    #[error("cannot {what}: {error}")]
    System {
        /// What was asked for.
        what: &'static str,
        /// Why not.
        error: std::io::Error,
    },
}
