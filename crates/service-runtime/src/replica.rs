//! Copies of global data, as services keep and publish them (crate `replication`).

use crate::{Context, Parts};
use futures_util::{StreamExt as _, stream::BoxStream};
use mesh_layers::{MeshError, Reason, trust::PeerToken};
use replication::{Feed, FeedError, Log, Position, Replica, Told, Who};
use std::time::Duration;
use storage::{StorageError, TxError};
use tokio::time::Instant;
use tonic::{Request, Response, Status, metadata::MetadataMap};

/// Metadata by which a follower proves to be of this mesh. Not one of the mesh's own names: routers pass it on.
const FOLLOWER: &str = "feed-follower";

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

impl Context {
    /// A request for a feed's stream that proves to come from a process of this mesh, by the mesh-wide keys: such streams are
    /// counted apart from those of clients.
    pub fn as_follower<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(proof) = self.proofs().next() {
            // tonic keeps the value's sensitivity: HPACK does not index it.
            let mut headers = std::mem::take(request.metadata_mut()).into_headers();
            headers.insert(FOLLOWER, proof.header());
            *request.metadata_mut() = MetadataMap::from_headers(headers);
        }
        request
    }

    /// Who asks for a feed's stream.
    pub fn who<T>(&self, request: &Request<T>) -> Who {
        let offered = request.metadata().get(FOLLOWER);
        let proven = offered.is_some_and(|offered| self.proofs().any(|proof| proof.matches(offered.as_bytes())));
        if proven { Who::Mesh } else { Who::Client }
    }

    /// What proves a follower, the newest first.
    fn proofs(&self) -> impl Iterator<Item = PeerToken> + use<> {
        let keys = self.derive_keys("follower of a feed").into_iter();
        let hex = |key: [u8; 32]| key.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        keys.map(move |(_, key)| PeerToken::new(&hex(key)).expect("64 hex digits are a token"))
    }
}

/// Judges whether a stream may go on.
pub(crate) trait Allowed: Fn() -> Result<(), Status> + Send + 'static {}

impl<F: Fn() -> Result<(), Status> + Send + 'static> Allowed for F {}

/// Answers with a stream of a feed's changes and heartbeats: `message` makes the messages. `allowed` is asked at once and
/// before each of them.
///
/// # Errors
/// If it is not allowed, or too many streams are open.
pub(crate) fn serve_feed<L: Log<Error = Status>, T: 'static>(
    feed: &Feed<L>,
    who: Who,
    after: Position,
    allowed: impl Allowed,
    message: impl Fn(Told<L::Item>) -> T + Send + 'static,
) -> Result<Response<BoxStream<'static, Result<T, Status>>>, Status> {
    let told = feed.stream(who, after, Instant::now, allowed).map_err(feed_status)?;
    Ok(Response::new(told.map(move |told| told.map(&message).map_err(feed_status)).boxed()))
}

fn feed_status(error: FeedError<Status>) -> Status {
    let message = error.to_string();
    match error {
        FeedError::TooManyStreams { .. } => MeshError::rate_limited(message, Duration::from_secs(5)).into(),
        FeedError::Replaced => MeshError::new(Reason::Unavailable, message).into(),
        FeedError::Log(status) => status,
    }
}
