//! What the stores promise, whatever is in the file and whoever dies when.
#![expect(clippy::unwrap_used, reason = "a test may stop at anything unexpected")]

mod file;
mod format;
mod memory;
mod support;
mod watch;
