//! What may go wrong in campaign, and what the caller is told.

use crate::DOMAIN;
use mesh_layers::error::{MeshError, Reason};
use service_runtime::SetFault;
use shop_logic::{CampaignId, CouponCode, Violations};
use tonic::Status;

/// Why campaign says no.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request is malformed. The caller's side.
    #[error("{0}")]
    Invalid(Violations),
    /// No such campaign. The caller's side.
    #[error("campaign \"{0}\" does not exist")]
    NotFound(CampaignId),
    /// The campaign is there already. The caller's side.
    #[error("campaign \"{0}\" exists already")]
    AlreadyExists(CampaignId),
    /// Another campaign's coupon has the code. The caller's side.
    #[error("coupon code \"{code}\" belongs to campaign \"{owner}\"")]
    CodeTaken {
        /// The code.
        code: CouponCode,
        /// Whose it is.
        owner: String,
    },
    /// Campaigns are not written or read here.
    #[error(transparent)]
    Set(#[from] SetFault),
    /// A stored value is not what campaign writes. Ours.
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
            Error::AlreadyExists(_) | Error::CodeTaken { .. } => MeshError::new(Reason::AlreadyExists, message).into(),
            Error::Set(fault) => fault.into_status(DOMAIN),
            Error::Stored { .. } => MeshError::internal(message).into(),
        }
    }
}
