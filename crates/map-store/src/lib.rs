#![doc = include_str!("../README.md")]

mod error;
mod file;
pub mod format;
mod memory;
mod publish;
mod source;
mod watch;

pub use error::{FormatError, StoreError};
pub use file::{Applied, ApplyError, FileStore, Kept};
pub use memory::MemoryStore;
pub use source::{MapSource, Stamp};
pub use watch::{MapWatch, WatchOptions, watch};
