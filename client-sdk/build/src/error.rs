//! Why nothing was generated.

use mesh_policy::PolicyError;
use std::{fmt, io, path::PathBuf};

/// Why nothing was generated. Build scripts end with it: it reads the same with `{}` and `{:?}`.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A `.proto` file cannot be found or read, or is not valid.
    #[error("{0:?}")]
    Proto(protox::Error),
    /// Policies that contradict themselves or their messages, and names that Rust cannot have: all of them, a line each.
    #[error("{}", lines(.0))]
    Faults(Vec<Fault>),
    /// An option of the builder.
    #[error("{0}")]
    Option(String),
    /// Messages that prost cannot make Rust types of.
    #[error("prost cannot generate these messages: {0}")]
    Messages(String),
    /// A file that cannot be read or written.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// One fault of the protos.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// In a policy.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// In a name.
    #[error("{file}: {element}: {why}")]
    Name {
        /// The .proto file.
        file: String,
        /// Full name of the service, or `package.Service/Method`.
        element: String,
        /// What is wrong.
        why: String,
    },
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Each fault on a line of its own, so that none follows cargo's `Error: `.
fn lines(faults: &[Fault]) -> String {
    faults.iter().map(|fault| format!("\n  {fault}")).collect()
}
