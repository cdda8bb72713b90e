//! The stream of the catalogue's changes, read from this cell's tables.
//!
//! A stream pulls: it reads the next piece when its caller takes one, so a slow follower costs one piece of memory and
//! no queue. It is woken by the writes of this process, and looks by itself at each heartbeat for those of others.

use crate::{
    Error,
    domain::Product,
    store::{self, Standing},
};
use futures_util::{Stream, stream};
use service_runtime::{Context, status};
use shop_logic::Position;
use shop_proto::catalog_v1 as pb;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::timeout,
};
use tonic::Status;

/// How long a stream is silent at most.
const HEARTBEAT: Duration = Duration::from_secs(3);
/// Products in one piece. A product is at most as large as a request to write it (64 KiB), so a piece stays below 4 MiB.
const PIECE: usize = 32;
/// Most streams of one process.
const MAX_STREAMS: usize = 256;

/// Whose changes a stream tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// What this cell writes: only in the global cell.
    Written,
    /// What this cell has, wherever it was written.
    Copied,
}

/// This cell's changes. Cheap to clone.
#[derive(Clone)]
pub struct Feed {
    context: Context,
    changes: Arc<watch::Sender<()>>,
    streams: Arc<Semaphore>,
}

impl Feed {
    /// The feed of this cell.
    #[must_use]
    pub fn new(context: Context) -> Self {
        Self { context, changes: Arc::new(watch::Sender::new(())), streams: Arc::new(Semaphore::new(MAX_STREAMS)) }
    }

    /// Wakes every stream: something was written.
    pub fn changed(&self) {
        self.changes.send_replace(());
    }

    /// Whether this cell is the one that writes products.
    #[must_use]
    pub fn is_global(&self) -> bool {
        self.require_global().is_ok()
    }

    /// Refuses if products are written elsewhere.
    ///
    /// # Errors
    /// [`Error::NotGlobal`].
    pub fn require_global(&self) -> Result<(), Error> {
        let map = self.context.map.load();
        let global = &map.global_cell().id;
        if *global == self.context.cell { Ok(()) } else { Err(Error::NotGlobal { global: global.clone() }) }
    }

    /// The changes after a position, from a snapshot if it cannot be continued; `None` is a heartbeat. Ends when the
    /// process drains.
    ///
    /// # Errors
    /// If this is not the cell to ask, or too many streams are open.
    pub fn stream(
        &self,
        source: Source,
        after: Position,
    ) -> Result<impl Stream<Item = Result<Option<pb::CatalogChange>, Status>> + use<>, Error> {
        if source == Source::Written {
            self.require_global()?;
        }
        let permit = Arc::clone(&self.streams).try_acquire_owned();
        let permit = permit.map_err(|_| Error::TooManyStreams { max: MAX_STREAMS })?;
        let follower = Follower {
            wake: self.changes.subscribe(),
            feed: self.clone(),
            source,
            state: State::Known(after),
            _permit: permit,
        };
        Ok(stream::unfold(Some(follower), |follower| async {
            let mut follower = follower?;
            match follower.next().await {
                Ok(Some(change)) => Some((Ok(change), Some(follower))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        }))
    }
}

/// Where a follower is.
#[derive(Clone, Copy, Debug)]
enum State {
    /// Has everything up to here.
    Known(Position),
    /// Inside a snapshot: was sent all products up to here.
    Snapshot(Position),
}

struct Follower {
    feed: Feed,
    source: Source,
    state: State,
    wake: watch::Receiver<()>,
    _permit: OwnedSemaphorePermit,
}

impl Follower {
    /// The next message; `Some(None)` is a heartbeat, `None` the end.
    async fn next(&mut self) -> Result<Option<Option<pb::CatalogChange>>, Status> {
        let shutdown = self.feed.context.shutdown.clone();
        let mut waited = false;
        loop {
            if self.source == Source::Written {
                self.feed.require_global()?;
            }
            // Marked as seen before reading, so that a write after the read wakes us.
            self.wake.mark_unchanged();
            if let Some(change) = self.piece().await? {
                return Ok(Some(Some(change)));
            }
            if waited {
                return Ok(Some(None));
            }
            tokio::select! {
                () = shutdown.cancelled() => return Ok(None),
                woken = timeout(HEARTBEAT, self.wake.changed()) => waited = woken.is_err(),
            }
        }
    }

    /// The next piece, if there is one.
    async fn piece(&mut self) -> Result<Option<pb::CatalogChange>, Status> {
        let from = match self.state {
            State::Known(position) | State::Snapshot(position) => position,
        };
        let Some((standing, products)) = self.read(from.sequence).await? else { return Ok(None) };
        let there = standing.position;
        let continues = from.incarnation == there.incarnation && from.sequence <= there.sequence;
        match self.state {
            State::Known(_) if continues && products.is_empty() => Ok(None),
            State::Known(_) if continues => {
                let position = reached(there, &products);
                self.state = State::Known(position);
                Ok(Some(change(position, false, false, &products)))
            }
            // Not a position of this history, or ahead of it: from the beginning.
            State::Known(_) => {
                let Some((standing, products)) = self.read(0).await? else { return Ok(None) };
                Ok(Some(self.snapshot_piece(standing.position, true, &products)))
            }
            State::Snapshot(_) if continues => Ok(Some(self.snapshot_piece(there, false, &products))),
            State::Snapshot(_) => Err(Error::NotReady.into()),
        }
    }

    /// A piece of a snapshot. The snapshot ends with the piece that leaves nothing behind it, so that a product which
    /// changes meanwhile is in it with its newest state.
    fn snapshot_piece(&mut self, there: Position, start: bool, products: &[Product]) -> pb::CatalogChange {
        let end = products.len() < PIECE;
        let position = if end { there } else { reached(there, products) };
        self.state = if end { State::Known(position) } else { State::Snapshot(position) };
        change(position, start, end, products)
    }

    async fn read(&self, after: u64) -> Result<Option<(Standing, Vec<Product>)>, Status> {
        let read = self.feed.context.db.global_read(move |tx| {
            Box::pin(async move {
                let Some(standing) = store::position(tx.conn()).await? else { return Ok(None) };
                Ok(Some((standing, store::after(tx.conn(), after, PIECE as i64).await?)))
            })
        });
        read.await.map_err(status::<Error>)
    }
}

/// The position after these products.
fn reached(there: Position, products: &[Product]) -> Position {
    let sequence = products.last().map_or(there.sequence, |product| product.version);
    Position { sequence, ..there }
}

fn change(position: Position, start: bool, end: bool, products: &[Product]) -> pb::CatalogChange {
    pb::CatalogChange {
        incarnation: position.incarnation,
        sequence: position.sequence,
        snapshot_start: start,
        snapshot_end: end,
        products: products.iter().map(Into::into).collect(),
    }
}
