//! What may go wrong in catalog, and what the caller is told.

use crate::DOMAIN;
use mesh_layers::error::{MeshError, Reason};
use service_runtime::SetFault;
use shop_logic::{Sku, Violations};
use tonic::Status;

/// Why catalog says no.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request is malformed. The caller's side.
    #[error("{0}")]
    Invalid(Violations),
    /// No such product. The caller's side.
    #[error("product \"{0}\" does not exist")]
    NotFound(Sku),
    /// The product is there already. The caller's side.
    #[error("product \"{0}\" exists already")]
    AlreadyExists(Sku),
    /// The catalogue is not written or read here.
    #[error(transparent)]
    Set(#[from] SetFault),
    /// A stored value is not what catalog writes. Ours.
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
            Error::AlreadyExists(_) => MeshError::new(Reason::AlreadyExists, message).into(),
            Error::Set(fault) => fault.into_status(DOMAIN),
            Error::Stored { .. } => MeshError::internal(message).into(),
        }
    }
}
