//! What may go wrong in member, and what the caller is told.

use crate::{DOMAIN, MAX_FOLLOWING};
use cell_map::MintError;
use mesh_layers::error::{MeshError, Reason, refusal};
use shop_logic::Violations;
use tonic::{Code, Status};

/// Why member says no.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request is malformed. The caller's side.
    #[error("{0}")]
    Invalid(Violations),
    /// No such member. The caller's side.
    #[error("member \"{0}\" does not exist")]
    NotFound(String),
    /// This cell mints no id now; see the source. Another cell, or a later call, may.
    #[error(transparent)]
    Mint(#[from] MintError),
    /// The user follows as many as he may. The caller's side.
    #[error("a user may follow at most {MAX_FOLLOWING}")]
    TooManyFollowed,
    /// A stored value is not what member writes. Our side.
    #[error("stored {what} is damaged")]
    Stored {
        /// What it should be.
        what: &'static str,
    },
}

impl From<Violations> for Error {
    fn from(violations: Violations) -> Self {
        Self::Invalid(violations)
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::Invalid(violations) => MeshError::bad_request(message).violations(violations).into(),
            Error::NotFound(_) => MeshError::new(Reason::NotFound, message).into(),
            Error::TooManyFollowed => {
                let info = [("max", MAX_FOLLOWING.to_string())];
                refusal(Code::FailedPrecondition, DOMAIN, "TOO_MANY_FOLLOWED", message, info)
            }
            Error::Mint(MintError::Draining(cell)) => MeshError::cell_draining(&cell).into(),
            Error::Mint(MintError::NoHome(_) | MintError::UnknownCell(_)) => MeshError::no_home(message).into(),
            Error::Mint(MintError::BadRandomness { .. }) | Error::Stored { .. } => MeshError::internal(message).into(),
        }
    }
}
