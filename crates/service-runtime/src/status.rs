//! Errors of storage as gRPC statuses, in one place.

use mesh_layers::{CallContext, MeshError, Reason, call::Refusal as Noted, error::WrongCell};
use std::time::Duration;
use storage::{Class, KeyInUse, Refusal, StorageError, TxError};
use tonic::{Code, Status};

/// When to ask again for a user that is moving: about as long as a move's freeze lasts.
const MOVING_RETRY: Duration = Duration::from_millis(50);
/// When to ask again after transactions met.
const BUSY_RETRY: Duration = Duration::from_millis(20);

/// The status of a transaction that did not take place. A refusal by the fence was noted in the running call by the
/// runtime when it happened, which makes this the one way to answer WRONG_CELL or MOVING.
///
/// A service's own error becomes what its `Into<Status>` says.
pub fn status<E: Into<Status>>(error: TxError<E>) -> Status {
    match error {
        TxError::Business(error) => error.into(),
        TxError::Refused(refusal) => of_refusal(&refusal).into(),
        TxError::KeyInUse(KeyInUse::Conflict) => {
            MeshError::new(Reason::IdempotencyConflict, KeyInUse::Conflict.to_string()).into()
        }
        TxError::KeyInUse(KeyInUse::InProgress) => {
            let error = MeshError::new(Reason::IdempotencyInProgress, KeyInUse::InProgress.to_string());
            error.retry_after(BUSY_RETRY).into()
        }
        TxError::Storage(error) => of_storage(&error).into(),
    }
}

/// The code and reason of a refusal, for the items of a batch: such an item answers for itself.
#[must_use]
pub fn refusal_code(refusal: &Refusal) -> (Code, Reason) {
    let error = of_refusal(refusal);
    (error.code(), error.reason())
}

/// BAD_REQUEST for one field, with its violation.
pub fn bad_field(field: &str, why: impl std::fmt::Display) -> Status {
    let why = why.to_string();
    MeshError::bad_request(format!("field \"{field}\": {why}")).violation(field, &why).into()
}

fn of_refusal(refusal: &Refusal) -> MeshError {
    match refusal {
        Refusal::WrongCell { owner, epochs } => {
            MeshError::wrong_cell(&WrongCell { owner: owner.clone(), epochs: *epochs, map_epoch: None })
        }
        Refusal::Moving => MeshError::moving(MOVING_RETRY),
        Refusal::NoHome => MeshError::no_home(refusal.to_string()),
    }
}

fn of_storage(error: &StorageError) -> MeshError {
    match error.class() {
        Class::Retry => {
            tracing::info!(%error, "transaction did not get its turn");
            MeshError::new(Reason::Contended, "the transaction did not get its turn").retry_after(BUSY_RETRY)
        }
        Class::Exhausted => {
            tracing::error!(%error, "database is out of a resource");
            MeshError::rate_limited("the database is out of a resource", Duration::from_secs(1))
        }
        Class::Unknown => {
            tracing::error!(%error, "outcome of a commit is unknown");
            MeshError::new(Reason::Unavailable, "the outcome is unknown; repeat with the same request id")
        }
        Class::Fault => {
            tracing::error!(%error, "database failed");
            MeshError::internal("the database failed")
        }
    }
}

/// Notes in the running call what a transaction did to it.
pub(crate) fn note(outcome: storage::TxOutcome<'_>, fenced: bool) {
    CallContext::with_current(|call| {
        if fenced && outcome.may_have_committed() {
            call.note_fenced_commit();
        }
        match outcome {
            storage::TxOutcome::Refused(Refusal::WrongCell { owner, epochs }) => {
                let redirect = WrongCell { owner: owner.clone(), epochs: *epochs, map_epoch: None };
                call.note_refusal(Noted::WrongCell(redirect));
            }
            storage::TxOutcome::Refused(Refusal::Moving) => call.note_refusal(Noted::Moving),
            _ => {}
        }
    });
}
