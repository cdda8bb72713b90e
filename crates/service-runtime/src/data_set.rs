//! Sets of global data: written in the global cell, copied by stream to every other one, read in each from its own tables.
//!
//! A service brings a set's SQL and its messages ([`DataSet`]); writing once, copying, publishing and being ready are here.

use crate::{
    Context, CopyError, Gate, Parts,
    replica::{Allowed, serve_feed},
    status,
};
use cell_map::CellId;
use futures_util::stream::BoxStream;
use mesh_layers::{MeshError, Reason, error::refusal};
use prost::Message;
use replication::{Batch, Feed, Log, Messages, Position, Replica, ReplicationError, Source, Told};
use std::marker::PhantomData;
use storage::{BoxFuture, IdempotencyKey, Positions, Tx, WorkError};
use tokio::time::Instant;
use tonic::{Code, Request, Response, Status};

/// How work on a set's tables ends.
pub type SetResult<S, T> = Result<T, WorkError<<S as DataSet>::Error>>;

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
    fn subscribe(
        context: &Context,
        after: Position,
    ) -> impl Future<Output = Result<Messages<Self::Item, CopyError<Self::Error>>, CopyError<Self::Error>>> + Send;
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

/// A set of global data as one cell has it. Cheap to clone.
pub struct Copied<S> {
    context: Context,
    feed: Feed<Table<S>>,
}

impl<S> Clone for Copied<S> {
    fn clone(&self) -> Self {
        Self { context: self.context.clone(), feed: self.feed.clone() }
    }
}

impl<S> std::fmt::Debug for Copied<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Copied").finish_non_exhaustive()
    }
}

impl<S: DataSet> Copied<S> {
    /// Keeps the set in this cell from now on: as its writer in the global cell, as a copy everywhere else. The process is not
    /// ready before there is something to read.
    #[must_use]
    pub fn keep(set: S, waits_for: &'static str, context: &Context, parts: &mut Parts) -> Self {
        let log = Table { context: context.clone(), set: PhantomData };
        let copied = Self { context: context.clone(), feed: Feed::new(log, context.shutdown.clone()) };
        let gate = context.readiness.gate(waits_for);
        parts.keep(S::NAME, context, Keeper { copied: copied.clone(), set, gate, writes: false });
        copied
    }

    /// Reads from this cell's copy.
    ///
    /// # Errors
    /// If there is none yet, or with what the work says.
    pub async fn read<T, F>(&self, read: F) -> Result<T, Status>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, SetResult<S, T>> + Send + 'static,
    {
        let read = self.context.db.global_read(move |tx| {
            Box::pin(async move {
                if S::POSITIONS.standing(tx).await?.is_none() {
                    return Err(WorkError::Business(SetFault::NotReady { set: S::NAME }.into()));
                }
                read(tx).await
            })
        });
        read.await.map_err(status::<S::Error>)
    }

    /// Writes in the global cell, once for each key, and wakes the followers. A changed item takes its version from
    /// [`Positions::next`].
    ///
    /// # Errors
    /// In any other cell, or with what the work says.
    pub async fn write<T, F>(&self, key: IdempotencyKey, write: F) -> Result<T, Status>
    where
        T: Message + Default + 'static,
        F: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, SetResult<S, T>> + Send + 'static,
    {
        require_global::<S>(&self.context).map_err(S::Error::from).map_err(Into::into)?;
        let context = self.context.clone();
        let write = async move {
            let db = context.db.clone();
            let written = db.global_idempotent(key, move |tx| {
                Box::pin(async move {
                    // Once more where it is certain: since the check above, this cell may have begun to follow another.
                    require_global::<S>(&context).map_err(|fault| WorkError::Business(fault.into()))?;
                    write(tx).await
                })
            });
            written.await
        };
        let written = self.feed.write(write).await;
        let written = written.map_err(|error| MeshError::internal(format!("write was cut off: {error}")))?;
        Ok(written.map_err(status::<S::Error>)?.into_inner())
    }

    /// Answers with the stream of the writer's changes, in the global cell only.
    ///
    /// # Errors
    /// In any other cell, or if too many streams are open.
    pub fn subscribe<R, T: 'static>(
        &self,
        request: &Request<R>,
        after: Position,
        message: impl Fn(Told<S::Item>) -> T + Send + 'static,
    ) -> Result<Response<BoxStream<'static, Result<T, Status>>>, Status> {
        let context = self.context.clone();
        let written = move || require_global::<S>(&context).map_err(|fault| S::Error::from(fault).into());
        self.serve(request, after, written, message)
    }

    /// Answers with the stream of what changes in this cell's copy.
    ///
    /// # Errors
    /// If too many streams are open.
    pub fn watch<R, T: 'static>(
        &self,
        request: &Request<R>,
        after: Position,
        message: impl Fn(Told<S::Item>) -> T + Send + 'static,
    ) -> Result<Response<BoxStream<'static, Result<T, Status>>>, Status> {
        self.serve(request, after, || Ok(()), message)
    }

    fn serve<R, T: 'static>(
        &self,
        request: &Request<R>,
        after: Position,
        allowed: impl Allowed,
        message: impl Fn(Told<S::Item>) -> T + Send + 'static,
    ) -> Result<Response<BoxStream<'static, Result<T, Status>>>, Status> {
        serve_feed(&self.feed, self.context.who(request), after, allowed, message)
    }
}

fn require_global<S: DataSet>(context: &Context) -> Result<(), SetFault> {
    context.require_global().map_err(|global| SetFault::NotGlobal { set: S::NAME, global })
}

/// A set's table as its own change log. An item is at most as large as a request to write it (64 KiB), so a piece stays
/// below 4 MiB.
struct Table<S> {
    context: Context,
    set: PhantomData<fn() -> S>,
}

impl<S: DataSet> Log for Table<S> {
    type Item = S::Item;
    type Error = Status;

    async fn read(&self, after: u64, limit: usize) -> Result<Option<(Position, Vec<S::Item>)>, Status> {
        let read = self.context.db.global_read(move |tx| {
            Box::pin(async move {
                let Some(standing) = S::POSITIONS.standing(tx).await? else { return Ok(None) };
                Ok(Some((standing.position, S::after(tx, after, limit as i64).await?)))
            })
        });
        read.await.map_err(status::<S::Error>)
    }

    fn sequence(item: &S::Item) -> u64 {
        S::version(item)
    }
}

/// Keeps a set in step.
struct Keeper<S> {
    copied: Copied<S>,
    set: S,
    /// Opened when there is something to serve.
    gate: Gate,
    /// Whether this cell was the writer last.
    writes: bool,
}

impl<S: DataSet> Replica for Keeper<S> {
    type Item = S::Item;
    type Error = CopyError<S::Error>;

    const NAME: &'static str = S::NAME;

    async fn position(&mut self) -> Result<Option<Position>, Self::Error> {
        // What was known of a copy stays true; what others wrote since this cell was the writer is not known.
        if std::mem::take(&mut self.writes) {
            self.copied.feed.stands(Source::Unknown);
        }
        Ok(S::POSITIONS.follow_from(&self.copied.context.db).await?)
    }

    async fn open(&mut self, after: Position) -> Result<Messages<S::Item, Self::Error>, Self::Error> {
        S::subscribe(&self.copied.context, after).await
    }

    async fn apply(&mut self, batch: Batch<S::Item>) -> Result<(), Self::Error> {
        let db = &self.copied.context.db;
        Ok(db.global(move |tx| Box::pin(async move { apply::<S>(tx, &batch).await })).await?)
    }

    fn applied(&mut self) {
        self.copied.feed.changed();
        self.gate.open();
    }

    fn confirmed(&mut self, as_of: Instant) {
        self.copied.feed.stands(Source::CopyAsOf(as_of));
    }

    fn is_writer(&self) -> bool {
        self.copied.context.require_global().is_ok()
    }

    async fn begin(&mut self, later_than: u64) -> Result<Position, Self::Error> {
        let set = self.set.clone();
        let begin = self.copied.context.db.global(move |tx| {
            Box::pin(async move {
                let position = S::POSITIONS.begin_history(tx, later_than).await?;
                set.seed(tx).await?;
                Ok(position)
            })
        });
        let position = begin.await?;
        self.copied.feed.stands(Source::Writer);
        self.writes = true;
        Ok(position)
    }

    fn latest_known(&self) -> u64 {
        self.copied.feed.latest_known()
    }
}
