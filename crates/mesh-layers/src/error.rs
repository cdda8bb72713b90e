//! Errors of the mesh: a reason, as `google.rpc.ErrorInfo` of domain `cellmesh`, in a gRPC status.

mod decode;
mod reason;

pub use decode::{Details, Redirect, WrongCell};
pub use reason::{DOMAIN, Reason};

use cell_map::CellId;
use std::{borrow::Cow, collections::HashMap, fmt, time::Duration};
use tonic::{Code, Status, metadata::MetadataValue};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

/// What went wrong with a call, ready to become a status. Messages are lower case and name the value at fault.
#[derive(Clone, Debug, PartialEq)]
pub struct MeshError(Box<Inner>);

#[derive(Clone, Debug, PartialEq)]
struct Inner {
    reason: Reason,
    code: Code,
    message: Cow<'static, str>,
    info: Vec<(&'static str, String)>,
    violations: Vec<(String, String)>,
    retry_after: Option<Duration>,
    accept_encoding: Option<&'static str>,
}

impl std::error::Error for MeshError {}

impl fmt::Display for MeshError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl MeshError {
    /// An error with this reason and the code that belongs to it.
    #[must_use]
    pub fn new(reason: Reason, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner {
            reason,
            code: reason.code(),
            message: message.into(),
            info: Vec::new(),
            violations: Vec::new(),
            retry_after: None,
            accept_encoding: None,
        }))
    }

    /// BAD_REQUEST: the caller's fault, never worth repeating. INVALID_ARGUMENT.
    #[must_use]
    pub fn bad_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Reason::BadRequest, message)
    }

    /// INTERNAL: ours.
    #[must_use]
    pub fn internal(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Reason::Internal, message)
    }

    /// WRONG_CELL: another cell owns the user (OWN-8).
    #[must_use]
    pub fn wrong_cell(redirect: &WrongCell) -> Self {
        Self::new(Reason::WrongCell, format!("the user's home is cell \"{}\"", redirect.owner)).redirect(redirect)
    }

    /// MOVING: the user's home is changing; the same call succeeds a moment later.
    #[must_use]
    pub fn moving(retry_after: Duration) -> Self {
        Self::new(Reason::Moving, "the user is moving to another cell").retry_after(retry_after)
    }

    /// MOVED: the home changed under a call that cannot be sent again here.
    #[must_use]
    pub fn moved(redirect: Option<&WrongCell>) -> Self {
        let error = Self::new(Reason::Moved, "the user moved to another cell during the call");
        redirect.into_iter().fold(error, Self::redirect)
    }

    /// NO_HOME: no cell can be the user's home.
    #[must_use]
    pub fn no_home(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Reason::NoHome, message)
    }

    /// CELL_UNREACHABLE: the home cell does not answer.
    #[must_use]
    pub fn cell_unreachable(cell: &CellId) -> Self {
        Self::new(Reason::CellUnreachable, format!("cell \"{cell}\" is unreachable")).info("cell", cell)
    }

    /// CELL_DRAINING: the cell takes no new work of this kind.
    #[must_use]
    pub fn cell_draining(cell: &CellId) -> Self {
        Self::new(Reason::CellDraining, format!("cell \"{cell}\" is draining")).info("cell", cell)
    }

    /// RATE_LIMITED: refused before any work. RESOURCE_EXHAUSTED.
    #[must_use]
    pub fn rate_limited(message: impl Into<Cow<'static, str>>, retry_after: Duration) -> Self {
        Self::new(Reason::RateLimited, message).retry_after(retry_after)
    }

    /// DEADLINE_EXCEEDED.
    #[must_use]
    pub fn deadline_exceeded() -> Self {
        Self::new(Reason::DeadlineExceeded, "deadline exceeded")
    }

    /// TOO_MANY_HOPS: a second cross-cell hop.
    #[must_use]
    pub fn too_many_hops(hops: u32) -> Self {
        Self::new(Reason::TooManyHops, format!("the call made {hops} hops between cells already, at most 1 is allowed"))
            .info("hops", hops)
    }

    /// METHOD_UNKNOWN. UNIMPLEMENTED.
    #[must_use]
    pub fn method_unknown(path: &str) -> Self {
        let path: String = path.chars().take(200).collect();
        Self::new(Reason::MethodUnknown, format!("method \"{path}\" is unknown"))
    }

    /// MESSAGE_TOO_LARGE, counted after decompression. RESOURCE_EXHAUSTED.
    #[must_use]
    pub fn message_too_large(limit: usize) -> Self {
        Self::new(Reason::MessageTooLarge, format!("message is larger than {limit} bytes")).info("limit", limit)
    }

    /// The same with another code than the reason's usual one (gRPC's conformance prescribes some).
    #[must_use]
    pub fn with_code(mut self, code: Code) -> Self {
        self.0.code = code;
        self
    }

    /// Adds a fact to the ErrorInfo's metadata.
    #[must_use]
    pub fn info(mut self, key: &'static str, value: impl fmt::Display) -> Self {
        self.0.info.push((key, value.to_string()));
        self
    }

    /// Adds a field violation (`google.rpc.BadRequest`).
    #[must_use]
    pub fn violation(mut self, field: &str, description: &str) -> Self {
        self.0.violations.push((field.to_owned(), description.to_owned()));
        self
    }

    /// Adds all field violations of a request, as (field, description).
    #[must_use]
    pub fn violations(mut self, violations: impl IntoIterator<Item = (String, String)>) -> Self {
        self.0.violations.extend(violations);
        self
    }

    /// Tells the caller when to try again (`google.rpc.RetryInfo`).
    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.0.retry_after = Some(delay);
        self
    }

    /// Tells the caller which compressions it may use (`grpc-accept-encoding`).
    #[must_use]
    pub fn accept_encoding(mut self, names: &'static str) -> Self {
        self.0.accept_encoding = Some(names);
        self
    }

    fn redirect(self, redirect: &WrongCell) -> Self {
        let error = self
            .info("owner", &redirect.owner)
            .info("user_epoch", redirect.epochs.user)
            .info("bucket_epoch", redirect.epochs.bucket);
        redirect.map_epoch.into_iter().fold(error, |error, epoch| error.info("map_epoch", epoch))
    }

    /// The reason.
    #[must_use]
    pub fn reason(&self) -> Reason {
        self.0.reason
    }

    /// The status code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// A trailers-only response.
    #[must_use]
    pub fn into_http<B: Default>(self) -> http::Response<B> {
        Status::from(self).into_http()
    }
}

impl From<MeshError> for Status {
    fn from(MeshError(error): MeshError) -> Self {
        let info: HashMap<String, String> = error.info.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
        let mut details = ErrorDetails::with_error_info(error.reason.as_str(), DOMAIN, info);
        if let Some(delay) = error.retry_after {
            details.set_retry_info(Some(delay));
        }
        if !error.violations.is_empty() {
            let violations = error.violations.into_iter().map(|(field, why)| FieldViolation::new(field, why));
            details.set_bad_request(violations.collect::<Vec<_>>());
        }
        let mut status = Self::with_error_details(error.code, error.message, details);
        if let Some(names) = error.accept_encoding {
            status.metadata_mut().insert("grpc-accept-encoding", MetadataValue::from_static(names));
        }
        status
    }
}

/// A status of an application's own domain, with ErrorInfo: what a service answers when its rules say no.
///
/// The reason is UPPER_SNAKE_CASE and the domain is the service's (like `shop.cellmesh`), never [`DOMAIN`].
#[must_use]
pub fn refusal<'a>(
    code: Code,
    domain: &str,
    reason: &str,
    message: impl Into<String>,
    info: impl IntoIterator<Item = (&'a str, String)>,
) -> Status {
    let info: HashMap<String, String> = info.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
    Status::with_error_details(code, message, ErrorDetails::with_error_info(reason, domain, info))
}

#[cfg(test)]
mod tests;
