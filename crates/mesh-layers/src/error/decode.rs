//! Reading the mesh's errors back from a response.

use super::{DOMAIN, Reason};
use crate::metadata::{BASE64, GRPC_STATUS, GRPC_STATUS_DETAILS, UNPROCESSED};
use base64::Engine;
use cell_map::{BucketEpoch, CellId, MapEpoch, OwnerEpochs, UserEpoch};
use http::HeaderMap;
use std::{collections::HashMap, time::Duration};
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// Longest `grpc-status-details-bin` read, in bytes on the wire; longer ones are not ours.
const MAX_DETAILS: usize = 8 * 1024;

/// What a status says beyond its code, as far as the mesh understands it.
#[derive(Clone, Debug, PartialEq)]
pub struct Details {
    /// The status code.
    pub code: Code,
    /// Domain of the ErrorInfo.
    pub domain: String,
    /// Reason of the ErrorInfo.
    pub reason: String,
    /// Facts of the ErrorInfo.
    pub info: HashMap<String, String>,
    /// From RetryInfo.
    pub retry_after: Option<Duration>,
}

impl Details {
    /// From trailers, or the headers of a trailers-only response. `None` when the status is missing or OK, or has no
    /// readable ErrorInfo; hostile bytes are `None` too.
    #[must_use]
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let code = Code::from_bytes(headers.get(GRPC_STATUS)?.as_bytes());
        let value = headers.get(GRPC_STATUS_DETAILS).filter(|value| value.len() <= MAX_DETAILS)?;
        Self::from_bytes(code, BASE64.decode(value.as_bytes()).ok()?)
    }

    /// From a status as a tonic client sees it.
    #[must_use]
    pub fn from_status(status: &Status) -> Option<Self> {
        Self::from_bytes(status.code(), status.details().to_vec())
    }

    fn from_bytes(code: Code, details: Vec<u8>) -> Option<Self> {
        if code == Code::Ok || details.is_empty() {
            return None;
        }
        let status = Status::with_details(code, "", details.into());
        let info = status.get_details_error_info()?;
        let retry_after = status.get_details_retry_info().and_then(|retry| retry.retry_delay);
        Some(Self { code, domain: info.domain, reason: info.reason, info: info.metadata, retry_after })
    }

    /// The mesh's reason, if the ErrorInfo is the mesh's.
    #[must_use]
    pub fn mesh_reason(&self) -> Option<Reason> {
        (self.domain == DOMAIN).then(|| Reason::parse(&self.reason)).flatten()
    }
}

/// The owner that a cell names instead of itself (OWN-8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongCell {
    /// The cell to ask.
    pub owner: CellId,
    /// What the claim is ordered by.
    pub epochs: OwnerEpochs,
    /// Epoch of the map of the cell that answered, if it told.
    pub map_epoch: Option<MapEpoch>,
}

impl WrongCell {
    /// From trailers, or the headers of a trailers-only response.
    #[must_use]
    pub fn decode(headers: &HeaderMap) -> Option<Self> {
        Self::from_details(&Details::from_headers(headers)?)
    }

    /// From details with reason WRONG_CELL (or MOVED, which may name the owner too).
    #[must_use]
    pub fn from_details(details: &Details) -> Option<Self> {
        if !matches!(details.mesh_reason()?, Reason::WrongCell | Reason::Moved) {
            return None;
        }
        let number = |key: &str| details.info.get(key)?.parse::<u64>().ok();
        Some(Self {
            owner: CellId::new(details.info.get("owner")?).ok()?,
            epochs: OwnerEpochs::new(UserEpoch::new(number("user_epoch")?), BucketEpoch::new(number("bucket_epoch")?)),
            map_epoch: number("map_epoch").map(MapEpoch::new),
        })
    }
}

/// What a router or client does about a response that refuses for the sake of ownership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Redirect {
    /// Another cell owns the user.
    WrongCell {
        /// Whom to ask.
        to: WrongCell,
        /// Nothing took effect: the call may be sent again (OWN-9).
        unprocessed: bool,
    },
    /// The user is moving.
    Moving {
        /// When to try again.
        retry_after: Duration,
        /// Nothing took effect: the call may be sent again (OWN-9).
        unprocessed: bool,
    },
}

impl Redirect {
    /// From the headers of a trailers-only response. `None` for every other answer.
    #[must_use]
    pub fn decode(headers: &HeaderMap) -> Option<Self> {
        let details = Details::from_headers(headers)?;
        let unprocessed = headers.get(UNPROCESSED).is_some_and(|value| value == "1");
        match details.mesh_reason()? {
            Reason::WrongCell => Some(Self::WrongCell { to: WrongCell::from_details(&details)?, unprocessed }),
            Reason::Moving => {
                let retry_after = details.retry_after.unwrap_or(Duration::from_millis(50));
                Some(Self::Moving { retry_after, unprocessed })
            }
            _ => None,
        }
    }
}
