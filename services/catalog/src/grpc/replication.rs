//! The catalogue's streams.

use super::{change, require_global};
use crate::feed::Feed;
use futures_util::{Stream, StreamExt, stream::BoxStream};
use replication::Position;
use service_runtime::{Context, feed_status};
use shop_proto::catalog_v1::{self as pb, catalog_replication_service_server::CatalogReplicationService};
use tonic::{Request, Response, Status, async_trait};

/// `shop.catalog.v1.CatalogReplicationService`.
#[derive(Clone)]
pub struct Replication {
    context: Context,
    feed: Feed,
}

impl Replication {
    /// The service of this cell.
    #[must_use]
    pub const fn new(context: Context, feed: Feed) -> Self {
        Self { context, feed }
    }

    fn changes<A>(
        &self,
        after: Position,
        allowed: A,
    ) -> Result<impl Stream<Item = Result<Option<pb::CatalogChange>, Status>> + use<A>, Status>
    where
        A: Fn() -> Result<(), Status> + Send + 'static,
    {
        let pieces = self.feed.stream(after, allowed).map_err(feed_status)?;
        Ok(pieces.map(|piece| Ok(piece.map_err(feed_status)?.as_ref().map(change))))
    }
}

#[async_trait]
impl CatalogReplicationService for Replication {
    type SubscribeStream = BoxStream<'static, Result<pb::SubscribeResponse, Status>>;
    type WatchStream = BoxStream<'static, Result<pb::WatchResponse, Status>>;

    async fn subscribe(
        &self,
        request: Request<pb::SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let &pb::SubscribeRequest { incarnation, sequence } = request.get_ref();
        let context = self.context.clone();
        let written = move || require_global(&context).map_err(Status::from);
        let changes = self.changes(Position { incarnation, sequence }, written)?;
        Ok(Response::new(changes.map(|change| Ok(pb::SubscribeResponse { change: change? })).boxed()))
    }

    async fn watch(&self, request: Request<pb::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let &pb::WatchRequest { incarnation, sequence } = request.get_ref();
        let changes = self.changes(Position { incarnation, sequence }, || Ok(()))?;
        Ok(Response::new(changes.map(|change| Ok(pb::WatchResponse { change: change? })).boxed()))
    }
}
