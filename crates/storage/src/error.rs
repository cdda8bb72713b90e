//! What may go wrong, whose fault it is and whether repeating helps.

use cell_map::{BucketId, CellId, OwnerEpochs};
use std::sync::Arc;

/// How a caller should treat a [`StorageError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Nothing happened; the same call may be repeated soon (gRPC `ABORTED` or `UNAVAILABLE`).
    Retry,
    /// Nothing happened; out of a resource such as disk space (gRPC `RESOURCE_EXHAUSTED`).
    Exhausted,
    /// The transaction may or may not have been committed; only a repetition with the same idempotency key tells
    /// (gRPC `UNAVAILABLE` without `cellmesh-unprocessed`).
    Unknown,
    /// A fault on our side that repeating does not cure (gRPC `INTERNAL`).
    Fault,
}

/// A failure of the database or of this crate's use of it. Unless its [`class`](Self::class) is [`Class::Unknown`],
/// nothing was committed.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// Another connection or process held the database too long, or the queue for it was too slow.
    #[error("database is busy: {0}")]
    Busy(&'static str),
    /// The work did not end within the transaction's time limit and was rolled back.
    #[error("transaction took longer than its limit of {limit_ms} ms and was rolled back")]
    TimeLimit {
        /// The limit in milliseconds.
        limit_ms: u64,
    },
    /// COMMIT was sent and its outcome is not known.
    #[error("outcome of the commit is unknown: {0}")]
    CommitUnknown(String),
    /// It shared its COMMIT with others, which did not take place, through no fault of its own.
    #[error("nothing was done: the commit that it shared with others did not take place: {why}")]
    Together {
        /// Whether the database was out of space.
        full: bool,
        /// What happened.
        why: Arc<str>,
    },
    /// The database rolled the transaction back by itself, and its work went on.
    #[error("the database rolled the transaction back while its work went on")]
    Lost,
    /// The caller went away before the transaction began.
    #[error("caller went away before the transaction began")]
    Abandoned,
    /// The work panicked and was rolled back.
    #[error("transaction's work panicked and was rolled back: {0}")]
    Panicked(String),
    /// A bucket has no row, so nobody knows whose it is (OWN: a missing row is an error, never "home").
    #[error("bucket {0} has no row in table \"cell_bucket\": ownership was never bootstrapped or the table is damaged")]
    MissingBucket(BucketId),
    /// A stored value is not what this crate writes.
    #[error("stored value is damaged: {0}")]
    Corrupt(String),
    /// The database belongs to another cell.
    #[error("database belongs to cell \"{found}\", not to \"{expected}\"")]
    ForeignCell {
        /// The cell that was configured.
        expected: CellId,
        /// The cell named in the database.
        found: String,
    },
    /// A migration that was applied has been edited since.
    #[error(
        "migration {version} of module \"{module}\" (\"{name}\") was applied with other text; migrations are never edited"
    )]
    EditedMigration {
        /// Whose migration.
        module: String,
        /// Its number.
        version: u32,
        /// Its name.
        name: String,
    },
    /// Migrations of a module that do not count 1, 2, 3…
    #[error(
        "migrations of module \"{module}\" must count up from 1 without gaps, found {version} where {expected} belongs"
    )]
    MigrationOrder {
        /// Whose migration.
        module: String,
        /// The number found.
        version: u32,
        /// The number that belongs there.
        expected: u32,
    },
    /// A write was attempted in a read-only transaction.
    #[error("a read-only transaction cannot {0}")]
    ReadOnly(&'static str),
    /// A failure reported by the database.
    #[error("database: {0}")]
    Database(#[source] sqlx::Error),
}

impl StorageError {
    /// How a caller should treat it.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Busy(_) | Self::TimeLimit { .. } | Self::Abandoned => Class::Retry,
            Self::Together { full, .. } => {
                if *full {
                    Class::Exhausted
                } else {
                    Class::Retry
                }
            }
            Self::CommitUnknown(_) => Class::Unknown,
            Self::Database(error) => match database_code(error).map(|code| code & 0xff) {
                // SQLITE_BUSY, SQLITE_LOCKED
                Some(5 | 6) => Class::Retry,
                // SQLITE_FULL
                Some(13) => Class::Exhausted,
                _ => Class::Fault,
            },
            _ => Class::Fault,
        }
    }

    /// Whether the database refused a row because one with the same key exists.
    #[must_use]
    pub fn is_unique_violation(&self) -> bool {
        matches!(self, Self::Database(sqlx::Error::Database(error)) if error.is_unique_violation())
    }

    /// Whether the database refused a row because of a CHECK constraint.
    #[must_use]
    pub fn is_check_violation(&self) -> bool {
        matches!(self, Self::Database(sqlx::Error::Database(error)) if error.is_check_violation())
    }
}

/// SQLite's extended result code, if the error came from SQLite.
pub(crate) fn database_code(error: &sqlx::Error) -> Option<u32> {
    match error {
        sqlx::Error::Database(error) => error.code().and_then(|code| code.parse().ok()),
        _ => None,
    }
}

/// Why a database is busy whose lock another process holds.
pub(crate) const LOCKED: &str = "another connection holds its lock";

impl From<sqlx::Error> for StorageError {
    fn from(error: sqlx::Error) -> Self {
        match database_code(&error).map(|code| code & 0xff) {
            Some(5) => Self::Busy(LOCKED),
            Some(6) => Self::Busy("a table is locked"),
            _ => Self::Database(error),
        }
    }
}

/// Why the ownership rows of this cell do not let a transaction run (`ownership.md`, "What a cell answers").
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Another cell is the user's home.
    WrongCell {
        /// Who owns the user, as far as this cell knows.
        owner: CellId,
        /// The epochs of that claim.
        epochs: OwnerEpochs,
    },
    /// The user is between two homes; ask again soon.
    Moving,
    /// No drawn key fell into a bucket where this cell may mint (OWN-10).
    NoHome,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::WrongCell { owner, epochs } => write!(
                f,
                "the user's home is cell \"{owner}\" (user epoch {}, bucket epoch {})",
                epochs.user, epochs.bucket
            ),
            Self::Moving => f.write_str("the user is moving between cells"),
            Self::NoHome => f.write_str("this cell has no bucket in which it may mint keys"),
        }
    }
}

/// Why an idempotency key kept a transaction from running.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyInUse {
    /// The key was used before with another body (gRPC `FAILED_PRECONDITION`, reason `IDEMPOTENCY_CONFLICT`).
    #[error("request id was used before with another request")]
    Conflict,
    /// The first call with this key still runs (gRPC `ABORTED`, reason `IDEMPOTENCY_IN_PROGRESS`).
    #[error("a call with the same request id is still running")]
    InProgress,
}

/// Why a transaction did not take place. `B` is the service's own error.
#[derive(Debug, thiserror::Error)]
pub enum TxError<B> {
    /// This cell may not serve the user now. Nothing was done.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// The idempotency key is taken. Nothing was done.
    #[error("{0}")]
    KeyInUse(KeyInUse),
    /// The work ended with the service's own error and was rolled back.
    #[error("{0}")]
    Business(B),
    /// The database failed; see [`StorageError::class`] for whether something may have been committed.
    #[error(transparent)]
    Storage(StorageError),
}

impl<B> From<StorageError> for TxError<B> {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

impl<B> From<Refusal> for TxError<B> {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// How the work inside a transaction ends it without a commit. Work cannot forge a [`Refusal`]: those belong to the
/// fence alone.
///
/// `?` on a [`sqlx::Error`] or a [`StorageError`] gives [`Self::Storage`]; a service's own error is wrapped by
/// [`Self::Business`].
#[derive(Debug, thiserror::Error)]
pub enum WorkError<B> {
    /// The service's own reason.
    #[error("{0}")]
    Business(B),
    /// A failure of the database.
    #[error(transparent)]
    Storage(StorageError),
}

impl<B> From<sqlx::Error> for WorkError<B> {
    fn from(error: sqlx::Error) -> Self {
        Self::Storage(error.into())
    }
}

impl<B> From<StorageError> for WorkError<B> {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

impl<B> From<WorkError<B>> for TxError<B> {
    fn from(error: WorkError<B>) -> Self {
        match error {
            WorkError::Business(error) => Self::Business(error),
            WorkError::Storage(error) => Self::Storage(error),
        }
    }
}
