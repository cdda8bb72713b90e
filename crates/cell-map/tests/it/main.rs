//! What the cell map promises, tested through its public API. Random tests print the seed that repeats them.

#![expect(clippy::unwrap_used, reason = "a test may stop at anything unexpected")]

mod admission;
mod change;
mod draft;
mod lookup;
mod minting;
mod nearest;
mod support;
