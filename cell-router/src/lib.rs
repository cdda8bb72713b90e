#![doc = include_str!("../README.md")]

pub mod brain;
pub mod config;
pub mod control;
pub mod directory;
pub mod head;
pub mod keys;
pub mod method;
mod metrics;
pub mod pass;
pub mod process;
pub mod relay;
pub mod restrictions;
mod run;
pub mod tls;
pub mod trace;
pub mod upstream;
pub mod worker;
pub mod world;

pub use config::Config;
pub use run::{Addresses, Parts, Router, StartError};
