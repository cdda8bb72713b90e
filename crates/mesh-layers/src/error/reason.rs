//! The reasons of domain `cellmesh`.

use tonic::Code;

/// Domain of the mesh's ErrorInfo.
pub const DOMAIN: &str = "cellmesh";

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $code:ident;)*) => {
        /// Why the mesh, not the application, ended a call. Each has one usual status code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason { $($(#[$doc])* $name,)* }

        impl Reason {
            /// Every reason.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// As it stands in ErrorInfo.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The code it comes with.
            #[must_use]
            pub const fn code(self) -> Code {
                match self { $(Self::$name => Code::$code,)* }
            }

            /// The reason of this text.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$name),)* _ => None }
            }
        }
    };
}

reasons! {
    /// Another cell owns the user.
    WrongCell = "WRONG_CELL", FailedPrecondition;
    /// The user's home is changing.
    Moving = "MOVING", Unavailable;
    /// The user's home changed during the call.
    Moved = "MOVED", Unavailable;
    /// No cell can be the user's home.
    NoHome = "NO_HOME", Unavailable;
    /// The home cell does not answer.
    CellUnreachable = "CELL_UNREACHABLE", Unavailable;
    /// The cell takes no new work.
    CellDraining = "CELL_DRAINING", Unavailable;
    /// Too much work at once.
    RateLimited = "RATE_LIMITED", ResourceExhausted;
    /// The request is malformed.
    BadRequest = "BAD_REQUEST", InvalidArgument;
    /// Too late.
    DeadlineExceeded = "DEADLINE_EXCEEDED", DeadlineExceeded;
    /// The caller went away.
    Cancelled = "CANCELLED", Cancelled;
    /// A second cross-cell hop.
    TooManyHops = "TOO_MANY_HOPS", Internal;
    /// No such method.
    MethodUnknown = "METHOD_UNKNOWN", Unimplemented;
    /// Over the size limit.
    MessageTooLarge = "MESSAGE_TOO_LARGE", ResourceExhausted;
    /// An idempotency key came back with another body.
    IdempotencyConflict = "IDEMPOTENCY_CONFLICT", FailedPrecondition;
    /// The first call with this idempotency key still runs.
    IdempotencyInProgress = "IDEMPOTENCY_IN_PROGRESS", Aborted;
    /// No such thing.
    NotFound = "NOT_FOUND", NotFound;
    /// It is there already.
    AlreadyExists = "ALREADY_EXISTS", AlreadyExists;
    /// The state of things forbids it.
    FailedPrecondition = "FAILED_PRECONDITION", FailedPrecondition;
    /// Transactions met; the same call may succeed.
    Contended = "CONTENDED", Aborted;
    /// The caller may not.
    PermissionDenied = "PERMISSION_DENIED", PermissionDenied;
    /// A caller of the peer listener without the peer token.
    UnauthenticatedPeer = "UNAUTHENTICATED_PEER", Unauthenticated;
    /// Something here is down or not ready.
    Unavailable = "UNAVAILABLE", Unavailable;
    /// A defect of ours.
    Internal = "INTERNAL", Internal;
}

impl Reason {
    /// Whether it speaks about ownership: only the runtime may say so, never business code (OWN-9).
    #[must_use]
    pub const fn is_reserved(self) -> bool {
        matches!(self, Self::WrongCell | Self::Moving | Self::Moved)
    }

    /// The reason to give a status that came without one.
    #[must_use]
    pub const fn of_code(code: Code) -> Self {
        match code {
            Code::Cancelled => Self::Cancelled,
            Code::InvalidArgument | Code::OutOfRange => Self::BadRequest,
            Code::DeadlineExceeded => Self::DeadlineExceeded,
            Code::NotFound => Self::NotFound,
            Code::AlreadyExists => Self::AlreadyExists,
            Code::PermissionDenied | Code::Unauthenticated => Self::PermissionDenied,
            Code::ResourceExhausted => Self::RateLimited,
            Code::FailedPrecondition => Self::FailedPrecondition,
            Code::Aborted => Self::Contended,
            Code::Unimplemented => Self::MethodUnknown,
            Code::Unavailable => Self::Unavailable,
            Code::Ok | Code::Unknown | Code::Internal | Code::DataLoss => Self::Internal,
        }
    }
}
