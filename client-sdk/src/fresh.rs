//! How fresh an answer must be.

use std::time::Duration;

pub use mesh_layers::metadata::{ParseTokenError, Token};

/// How fresh an answer must be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fresh {
    /// As fresh as its source promises: a local answer is never older than its lease.
    #[default]
    Any,
    /// At most so old, counted from when its home cell last confirmed it.
    MaxAge(Duration),
    /// It shows at least the write that returned this token: reading one's own writes.
    AtLeast(Token),
    /// As [`Fresh::Any`]; and where the mesh does not answer, a local answer at most so old.
    StaleIfError(Duration),
    /// Asked of the server, whatever is known here.
    Authoritative,
}
