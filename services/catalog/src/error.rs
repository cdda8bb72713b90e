//! What may go wrong in catalog, and what the caller is told.

use crate::DOMAIN;
use cell_map::CellId;
use mesh_layers::error::{MeshError, Reason, refusal};
use replication::ReplicationError;
use shop_logic::{Sku, Violations};
use tonic::{Code, Status};

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
    /// Products are written elsewhere. The caller's or the router's side.
    #[error("products are written in the global cell \"{global}\", not here")]
    NotGlobal {
        /// Where they are written.
        global: CellId,
    },
    /// Nothing was written or received here yet. Ours; repeat later.
    #[error("this cell has not received the catalogue yet")]
    NotReady,
    /// A piece of the catalogue's stream does not fit here. Told to no caller.
    #[error(transparent)]
    Replication(#[from] ReplicationError),
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
            Error::NotGlobal { global } => {
                let info = [("global_cell", global.to_string())];
                refusal(Code::FailedPrecondition, DOMAIN, "NOT_GLOBAL_CELL", message, info)
            }
            Error::NotReady => MeshError::new(Reason::Unavailable, message).into(),
            Error::Replication(_) | Error::Stored { .. } => MeshError::internal(message).into(),
        }
    }
}
