//! Configuration: a TOML file, overridden by the environment, overridden by `--set`.
//!
//! Every section is a struct of its own with defaults; an unknown key or a bad value is an error that names the key
//! and where it stands. Durations are milliseconds (`…_ms`), sizes bytes (`…_bytes`).

mod load;
mod process;
mod sections;

pub use load::{ConfigError, Sources, section};
pub use process::{CommonConfig, Config};
pub use sections::{
    DatabaseConfig, DrainConfig, LimitsConfig, ListenConfig, LogFormat, MapConfig, OperatorConfig, PeerConfig,
    SealConfig, SealKeyConfig, ServicesConfig, TelemetryConfig,
};
