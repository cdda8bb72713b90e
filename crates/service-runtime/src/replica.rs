//! Copies of global data, as services keep and publish them (crate `replication`).

use crate::{Context, Parts};
use futures_util::{StreamExt as _, stream::BoxStream};
use mesh_layers::{MeshError, Reason};
use replication::{Feed, FeedError, Log, Piece, Position, Replica};
use std::time::Duration;
use storage::{StorageError, TxError};
use tonic::{Response, Status};

/// Why a service's copy is not kept up to date.
#[derive(Debug, thiserror::Error)]
pub enum CopyError<E> {
    /// The stream broke or cannot be opened.
    #[error("stream: {} ({:?})", .0.message(), .0.code())]
    Stream(#[from] Status),
    /// An item of the stream is not what the service expects.
    #[error("{0}")]
    Item(E),
    /// The database did not take a batch.
    #[error(transparent)]
    Storage(#[from] TxError<E>),
}

impl<E> From<StorageError> for CopyError<E> {
    fn from(error: StorageError) -> Self {
        Self::Storage(error.into())
    }
}

impl Parts {
    /// Keeps a copy until the process drains.
    pub fn keep(&mut self, name: &'static str, context: &Context, replica: impl Replica + 'static) {
        let shutdown = context.shutdown.clone();
        self.task(name, async move {
            shutdown.run_until_cancelled_owned(replication::run(replica)).await;
        });
    }
}

/// Answers with a stream of a feed's changes: `message` makes the messages, of `None` a heartbeat. `allowed` is asked at once
/// and before each piece.
///
/// # Errors
/// If it is not allowed, or too many streams are open.
pub fn serve_feed<L: Log<Error = Status>, T: 'static>(
    feed: &Feed<L>,
    after: Position,
    allowed: impl Fn() -> Result<(), Status> + Send + 'static,
    message: impl Fn(Option<Piece<L::Item>>) -> T + Send + 'static,
) -> Result<Response<BoxStream<'static, Result<T, Status>>>, Status> {
    let pieces = feed.stream(after, allowed).map_err(feed_status)?;
    Ok(Response::new(pieces.map(move |piece| piece.map(&message).map_err(feed_status)).boxed()))
}

fn feed_status(error: FeedError<Status>) -> Status {
    let message = error.to_string();
    match error {
        FeedError::TooManyStreams => MeshError::rate_limited(message, Duration::from_secs(5)).into(),
        FeedError::Replaced => MeshError::new(Reason::Unavailable, message).into(),
        FeedError::Log(status) => status,
    }
}
