#![doc = include_str!("../README.md")]

mod builder;
mod comments;
mod error;
mod generate;
mod names;
mod output;
mod service_config;
mod sources;

pub use builder::Builder;
pub use error::{Error, Fault};
pub use prost_build;
