//! Sets of global data: written in the global cell, copied by stream to every other one, read in each from its own tables.
//!
//! A service brings a set's SQL and its messages ([`DataSet`]); writing once, copying, publishing and being ready are here.

mod copied;
mod keeper;

pub use copied::Copied;

use crate::{Context, CopyError};
use cell_map::CellId;
use mesh_layers::{MeshError, Reason, error::refusal};
use replication::{Batch, Messages, Position, ReplicationError};
use storage::{Positions, Tx, WorkError};
use tonic::{Code, Status};

/// How work on a set's tables ends.
pub type SetResult<S, T> = Result<T, WorkError<<S as DataSet>::Error>>;

/// What opening a set's stream gives.
pub type SetStream<S> =
    Result<Messages<<S as DataSet>::Item, CopyError<<S as DataSet>::Error>>, CopyError<<S as DataSet>::Error>>;

/// A set of global data. Its table is its own change log: each item carries the sequence of its last change, by a unique
/// index, and items never go.
pub trait DataSet: Clone + Send + Sync + 'static {
    /// One of the data.
    type Item: Send + Sync + 'static;
    /// The service's own error.
    type Error: From<SetFault> + Into<Status> + std::error::Error + Send + 'static;

    /// What it is, for the log and for errors.
    const NAME: &'static str;
    /// The table of where this cell's copy stands.
    const POSITIONS: Positions;

    /// The sequence of an item's last change.
    fn version(item: &Self::Item) -> u64;

    /// Items whose last change came after a sequence, in the order of their changes.
    fn after(tx: &mut Tx, sequence: u64, limit: i64) -> impl Future<Output = SetResult<Self, Vec<Self::Item>>> + Send;

    /// Writes an item as it is, in the place of an older one.
    fn put(tx: &mut Tx, item: &Self::Item) -> impl Future<Output = SetResult<Self, ()>> + Send;

    /// Removes all items.
    fn clear(tx: &mut Tx) -> impl Future<Output = SetResult<Self, ()>> + Send;

    /// Writes what is to be there when the global cell begins to write.
    fn seed(&self, _tx: &mut Tx) -> impl Future<Output = SetResult<Self, ()>> + Send {
        std::future::ready(Ok(()))
    }

    /// Opens the writer's stream after a position ([`Context::as_follower`]).
    fn subscribe(context: &Context, after: Position) -> impl Future<Output = SetStream<Self>> + Send;
}

/// Why a set is not read or written here.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SetFault {
    /// It is written elsewhere. The caller's or the router's side.
    #[error("{set}: written in the global cell \"{global}\", not here")]
    NotGlobal {
        /// What.
        set: &'static str,
        /// Where it is written.
        global: CellId,
    },
    /// Nothing was written or received here yet. Ours; repeat later.
    #[error("{set}: this cell has not received it yet")]
    NotReady {
        /// What.
        set: &'static str,
    },
    /// A piece of its stream does not fit here. Told to no caller.
    #[error(transparent)]
    Replication(#[from] ReplicationError),
}

impl SetFault {
    /// As a service answers it; `domain` is that of the service's own refusals.
    #[must_use]
    pub fn into_status(self, domain: &str) -> Status {
        let message = self.to_string();
        match self {
            Self::NotGlobal { global, .. } => {
                let info = [("global_cell", global.to_string())];
                refusal(Code::FailedPrecondition, domain, "NOT_GLOBAL_CELL", message, info)
            }
            Self::NotReady { .. } => MeshError::new(Reason::Unavailable, message).into(),
            Self::Replication(_) => MeshError::internal(message).into(),
        }
    }
}

/// Applies a batch of the writer's stream and its position: all of it or, by the caller's rollback, nothing.
///
/// # Errors
/// If the batch does not fit where this cell's copy stands, or with a failure of the database.
pub async fn apply<S: DataSet>(tx: &mut Tx, batch: &Batch<S::Item>) -> SetResult<S, ()> {
    let advanced = S::POSITIONS.advance::<_, _, SetFault>(tx, batch).await;
    advanced.map_err(|error| match error {
        WorkError::Business(fault) => WorkError::Business(fault.into()),
        WorkError::Storage(error) => WorkError::Storage(error),
    })?;
    if batch.replace {
        S::clear(tx).await?;
    }
    for item in &batch.items {
        S::put(tx, item).await?;
    }
    Ok(())
}
