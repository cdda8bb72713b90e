//! Why a call failed.

use cell_map::CellId;
use std::{fmt, sync::Arc, time::Duration};

/// gRPC's status codes (`statuscodes.md`), OK excepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum Code {
    /// The caller went away.
    Cancelled = 1,
    /// Nobody said.
    Unknown = 2,
    /// The request is malformed.
    InvalidArgument = 3,
    /// Too late.
    DeadlineExceeded = 4,
    /// No such thing.
    NotFound = 5,
    /// It is there already.
    AlreadyExists = 6,
    /// The caller may not.
    PermissionDenied = 7,
    /// Too much, too often.
    ResourceExhausted = 8,
    /// The state of things forbids it.
    FailedPrecondition = 9,
    /// Others were faster; the whole may be tried again.
    Aborted = 10,
    /// Past the end.
    OutOfRange = 11,
    /// No such method.
    Unimplemented = 12,
    /// A defect.
    Internal = 13,
    /// Down for now.
    Unavailable = 14,
    /// Data is lost.
    DataLoss = 15,
    /// Nobody knows who calls.
    Unauthenticated = 16,
}

impl Code {
    /// From the number on the wire; numbers that gRPC does not know, and OK, are [`Code::Unknown`].
    #[must_use]
    pub const fn from_number(number: i32) -> Self {
        match number {
            1 => Self::Cancelled,
            3 => Self::InvalidArgument,
            4 => Self::DeadlineExceeded,
            5 => Self::NotFound,
            6 => Self::AlreadyExists,
            7 => Self::PermissionDenied,
            8 => Self::ResourceExhausted,
            9 => Self::FailedPrecondition,
            10 => Self::Aborted,
            11 => Self::OutOfRange,
            12 => Self::Unimplemented,
            13 => Self::Internal,
            14 => Self::Unavailable,
            15 => Self::DataLoss,
            16 => Self::Unauthenticated,
            _ => Self::Unknown,
        }
    }

    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> i32 {
        self as i32
    }
}

/// Why a call failed. Cheap to clone: all who waited for one call get the same.
#[derive(Clone, Debug)]
pub struct Error(Arc<Inner>);

#[derive(Clone, Debug, Default)]
struct Inner {
    code: Option<Code>,
    message: String,
    method: &'static str,
    reason: Option<String>,
    domain: String,
    info: Vec<(String, String)>,
    violations: Vec<(String, String)>,
    retry_after: Option<Duration>,
    cell: Option<CellId>,
    attempts: u8,
}

impl std::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.code(), self.0.message)?;
        if let Some(cell) = &self.0.cell {
            write!(f, " (cell {cell})")?;
        }
        if !self.0.method.is_empty() {
            write!(f, " in {}", self.0.method.trim_start_matches('/'))?;
        }
        Ok(())
    }
}

impl Error {
    /// An error with a code and a message (lower case, naming what is at fault).
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self(Arc::new(Inner { code: Some(code), message: message.into(), ..Inner::default() }))
    }

    /// gRPC's code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.0.code.unwrap_or(Code::Unknown)
    }

    /// What the service, or the mesh, says about it.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Path of the method.
    #[must_use]
    pub fn method(&self) -> &'static str {
        self.0.method
    }

    /// Reason of its `google.rpc.ErrorInfo`, like `CELL_UNREACHABLE`.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.0.reason.as_deref()
    }

    /// Domain of its `google.rpc.ErrorInfo`: `cellmesh` where the mesh says so.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.0.domain
    }

    /// Facts of its `google.rpc.ErrorInfo`.
    #[must_use]
    pub fn info(&self) -> &[(String, String)] {
        &self.0.info
    }

    /// Fields at fault and why, from `google.rpc.BadRequest`.
    #[must_use]
    pub fn violations(&self) -> &[(String, String)] {
        &self.0.violations
    }

    /// When to try again, from `google.rpc.RetryInfo`.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// The cell that answered, or that did not.
    #[must_use]
    pub fn cell(&self) -> Option<&CellId> {
        self.0.cell.as_ref()
    }

    /// How often the call was sent.
    #[must_use]
    pub fn attempts(&self) -> u8 {
        self.0.attempts
    }

    /// Whether the service refuses the request for what it says or for the state of things, and not the mesh for the sake
    /// of the way: what the mesh says of homes has reasons of its own.
    pub(crate) fn refuses_request(&self) -> bool {
        use Code::{AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, OutOfRange};
        let codes = [AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, OutOfRange];
        let own = ["BAD_REQUEST", "NOT_FOUND", "ALREADY_EXISTS", "FAILED_PRECONDITION"];
        codes.contains(&self.code())
            && (self.domain() != "cellmesh" || self.reason().is_some_and(|why| own.contains(&why)))
    }

    fn with(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }

    pub(crate) fn in_method(self, method: &'static str) -> Self {
        self.with(|inner| inner.method = method)
    }

    /// Says which part of a fan-out it was.
    pub(crate) fn in_part(self, part: &str) -> Self {
        self.with(|inner| inner.message = format!("part \"{part}\": {}", inner.message))
    }

    pub(crate) fn at_cell(self, cell: Option<CellId>) -> Self {
        self.with(|inner| inner.cell = cell)
    }

    pub(crate) fn after(self, attempts: u8) -> Self {
        self.with(|inner| inner.attempts = attempts)
    }

    pub(crate) fn with_reason(self, domain: &str, reason: &str, info: Vec<(String, String)>) -> Self {
        self.with(|inner| {
            inner.domain = domain.to_owned();
            inner.reason = Some(reason.to_owned());
            inner.info = info;
        })
    }

    pub(crate) fn with_violations(self, violations: Vec<(String, String)>) -> Self {
        self.with(|inner| inner.violations = violations)
    }

    pub(crate) fn with_retry_after(self, delay: Option<Duration>) -> Self {
        self.with(|inner| inner.retry_after = delay)
    }

    pub(crate) fn deadline_exceeded() -> Self {
        Self::new(Code::DeadlineExceeded, "deadline exceeded").with_reason("cellmesh", "DEADLINE_EXCEEDED", Vec::new())
    }
}
