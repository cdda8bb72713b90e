//! The catalogue's streams.

use super::{change, require_global};
use crate::feed::Feed;
use futures_util::stream::BoxStream;
use replication::Position;
use service_runtime::{Context, serve_feed};
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
        let message =
            |piece: Option<_>| pb::SubscribeResponse { change: piece.as_ref().map(change), ..Default::default() };
        serve_feed(&self.feed, Position { incarnation, sequence }, written, message)
    }

    async fn watch(&self, request: Request<pb::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let &pb::WatchRequest { incarnation, sequence } = request.get_ref();
        let message = |piece: Option<_>| pb::WatchResponse { change: piece.as_ref().map(change), ..Default::default() };
        serve_feed(&self.feed, Position { incarnation, sequence }, || Ok(()), message)
    }
}
