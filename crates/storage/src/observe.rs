//! What a transaction tells the outside: one span, one count, one call of the observer.

use crate::{Refusal, Standing};
use std::sync::atomic::{AtomicU64, Ordering};

/// What kind of transaction it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TxKind {
    /// A fenced write.
    Fenced,
    /// A fenced write under an idempotency key.
    Idempotent,
    /// A fenced read.
    FencedRead,
    /// The registration of a new user.
    Register,
    /// A write of data that no user owns.
    Global,
    /// A read of data that no user owns.
    GlobalRead,
    /// A step of a move or a bucket's bootstrap.
    Ownership,
    /// Housekeeping of this crate: outbox, sweeps, checks.
    Upkeep,
}

impl TxKind {
    /// Its name in `db.operation.name`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fenced => "fenced",
            Self::Idempotent => "idempotent",
            Self::FencedRead => "fenced_read",
            Self::Register => "register",
            Self::Global => "global",
            Self::GlobalRead => "global_read",
            Self::Ownership => "ownership",
            Self::Upkeep => "upkeep",
        }
    }
}

/// How a transaction ended, as its caller saw it.
#[derive(Clone, Copy, Debug)]
pub enum TxOutcome<'a> {
    /// Committed (a read: finished).
    Committed,
    /// The stored answer of an earlier call with the same idempotency key was returned.
    Replayed,
    /// Rolled back: the service's own error, a used key, or a failure of the database.
    RolledBack,
    /// The fence refused.
    Refused(&'a Refusal),
    /// COMMIT was sent, its outcome is not known.
    Unknown,
    /// The caller stopped waiting; a write that had begun goes on without it.
    CallerGone,
}

impl TxOutcome<'_> {
    /// Whether it may have changed the database, now or in a moment (what forbids `cellmesh-unprocessed`, OWN-9). A
    /// replay counts: an earlier attempt of the call did change it.
    #[must_use]
    pub fn may_have_committed(self) -> bool {
        matches!(self, Self::Committed | Self::Replayed | Self::Unknown | Self::CallerGone)
    }

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Committed => "committed",
            Self::Replayed => "replayed",
            Self::RolledBack => "rolled_back",
            Self::Refused(_) => "refused",
            Self::Unknown => "unknown",
            Self::CallerGone => "caller_gone",
        }
    }
}

/// Told about every transaction.
pub trait TxObserver: Send + Sync + 'static {
    /// A transaction ended. Called exactly once per transaction, which is once per `db.transaction` span, **on the
    /// caller's task** right before the result is returned, or from the drop of the caller's future.
    fn finished(&self, kind: TxKind, outcome: TxOutcome<'_>);

    /// A fenced transaction succeeded, or a stored answer was returned: where the user's data stands in it. Called right
    /// before [`finished`](Self::finished), on the same task; not for a caller that is gone.
    fn stood(&self, standing: &Standing) {
        let _ = standing;
    }

    /// A COMMIT took place, for so many write transactions that were at work at once. Called on the task of one of them,
    /// before any of their callers hears of it.
    fn committed(&self, transactions: usize) {
        let _ = transactions;
    }

    /// The W3C `traceparent` of the current span, to be stored with an event. Called inside the `db.transaction` span.
    fn traceparent(&self) -> Option<String> {
        None
    }
}

static TRANSACTIONS: AtomicU64 = AtomicU64::new(0);

/// How many transactions this process has asked for, over all databases: as many as it made `db.transaction` spans.
#[must_use]
pub fn transactions_total() -> u64 {
    TRANSACTIONS.load(Ordering::Relaxed)
}

/// The span of one transaction, counted.
pub(crate) fn span(kind: TxKind, system: &'static str, cell: &cell_map::CellId) -> tracing::Span {
    TRANSACTIONS.fetch_add(1, Ordering::Relaxed);
    tracing::info_span!(
        target: "cellmesh::span",
        "db.transaction",
        otel.kind = "client",
        otel.status_code = tracing::field::Empty,
        db.system.name = system,
        db.operation.name = kind.as_str(),
        cell.id = %cell,
        outcome = tracing::field::Empty,
    )
}
