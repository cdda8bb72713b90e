//! A set as one cell has it: read from its tables, written once, published.

use super::{DataSet, SetFault, SetResult, keeper::Keeper};
use crate::{
    Context, Parts,
    replica::{Allowed, serve_feed},
    status,
};
use futures_util::stream::BoxStream;
use mesh_layers::MeshError;
use prost::Message;
use replication::{Feed, Log, Position, Told};
use std::marker::PhantomData;
use storage::{BoxFuture, IdempotencyKey, Tx, WorkError};
use tonic::{Request, Response, Status};

/// A set of global data as one cell has it. Cheap to clone.
pub struct Copied<S> {
    pub(super) context: Context,
    pub(super) feed: Feed<Table<S>>,
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
        parts.keep(S::NAME, context, Keeper::new(copied.clone(), set, gate));
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
    /// `Positions::next`.
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
pub(super) struct Table<S> {
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
