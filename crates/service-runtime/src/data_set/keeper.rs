//! Keeps a set in step: as its writer in the global cell, as a copy of it everywhere else.

use super::{Copied, DataSet, apply};
use crate::{CopyError, Gate};
use replication::{Batch, Messages, Position, Replica, Source};
use tokio::time::Instant;

/// Keeps a set in step.
pub(super) struct Keeper<S> {
    copied: Copied<S>,
    set: S,
    /// Opened when there is something to serve.
    gate: Gate,
    /// Whether this cell was the writer last.
    writes: bool,
}

impl<S> Keeper<S> {
    pub(super) const fn new(copied: Copied<S>, set: S, gate: Gate) -> Self {
        Self { copied, set, gate, writes: false }
    }
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
