//! The mesh under clients and services made by tonic.
//!
//! [`Channel`] stands in for tonic's own channel under any generated client: calls find their users' homes, have deadlines,
//! and are sent again where that is safe. Local logic, coalescing and batching need typed clients.
//!
//! ```
//! # use client_sdk::{Error, Mesh, tonic::Channel};
//! # fn demo(mesh: &Mesh, descriptor_set: &[u8]) -> Result<(), Error> {
//! let channel = Channel::new(mesh, [descriptor_set])?;
//! // let mut client = acme::notes_client::NotesClient::new(channel);
//! # Ok(()) }
//! ```

mod channel;

pub use channel::Channel;

use crate::{Code, Colocated, Error};
use ::tonic::{Status, body::Body};
use cell_map::CellId;
use std::{collections::HashMap, convert::Infallible};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};
use tower::{Service, util::BoxCloneSyncService};

/// Services of a cell that run in this process, by their full names, for
/// [`MeshBuilder::colocated`](crate::MeshBuilder::colocated). The service brings its layers; of metadata it is told what a
/// peer would be.
///
/// # Errors
/// INVALID_ARGUMENT if `cell` is no cell's name.
pub fn colocated<S>(
    cell: &str,
    services: impl IntoIterator<Item = impl Into<String>>,
    service: S,
) -> Result<Colocated, Error>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send,
{
    let cell = CellId::new(cell).map_err(|error| Error::new(Code::InvalidArgument, error.to_string()))?;
    let services = services.into_iter().map(Into::into).collect();
    Ok(Colocated::of(cell, services, BoxCloneSyncService::new(service)))
}

/// The status that says the same: code, message, ErrorInfo, BadRequest and RetryInfo.
impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let mut details = ErrorDetails::new();
        if let Some(reason) = error.reason() {
            let info: HashMap<String, String> = error.info().iter().cloned().collect();
            details.set_error_info(reason, error.domain(), info);
        }
        if !error.violations().is_empty() {
            let fields = error.violations().iter().map(|(field, why)| FieldViolation::new(field, why));
            details.set_bad_request(fields.collect::<Vec<_>>());
        }
        if let Some(delay) = error.retry_after() {
            details.set_retry_info(Some(delay));
        }
        Self::with_error_details(error.code().number().into(), error.message(), details)
    }
}
