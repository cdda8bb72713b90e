//! Copies of global data, as services keep and publish them (crate `replication`).

use crate::{Context, Parts};
use mesh_layers::{MeshError, Reason};
use replication::{FeedError, Replica};
use std::time::Duration;
use storage::TxError;
use tonic::Status;

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

impl Parts {
    /// Keeps a copy until the process drains.
    pub fn keep(&mut self, name: &'static str, context: &Context, replica: impl Replica + 'static) {
        let shutdown = context.shutdown.clone();
        self.task(name, async move {
            shutdown.run_until_cancelled_owned(replication::run(replica)).await;
        });
    }
}

/// The status of a stream that a feed does not give, or gives no more.
#[must_use]
pub fn feed_status(error: FeedError<Status>) -> Status {
    let message = error.to_string();
    match error {
        FeedError::TooManyStreams => MeshError::rate_limited(message, Duration::from_secs(5)).into(),
        FeedError::Replaced => MeshError::new(Reason::Unavailable, message).into(),
        FeedError::Log(status) => status,
    }
}
