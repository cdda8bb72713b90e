//! The catalogue's streams.

use crate::feed::{Feed, Source};
use futures_util::{StreamExt, stream::BoxStream};
use shop_logic::Position;
use shop_proto::catalog_v1::{self as pb, catalog_replication_service_server::CatalogReplicationService};
use tonic::{Request, Response, Status, async_trait};

/// `shop.catalog.v1.CatalogReplicationService`.
#[derive(Clone)]
pub struct Replication {
    feed: Feed,
}

impl Replication {
    /// The service of this cell.
    #[must_use]
    pub const fn new(feed: Feed) -> Self {
        Self { feed }
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
        let changes = self.feed.stream(Source::Written, Position { incarnation, sequence })?;
        Ok(Response::new(changes.map(|change| Ok(pb::SubscribeResponse { change: change? })).boxed()))
    }

    async fn watch(&self, request: Request<pb::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let &pb::WatchRequest { incarnation, sequence } = request.get_ref();
        let changes = self.feed.stream(Source::Copied, Position { incarnation, sequence })?;
        Ok(Response::new(changes.map(|change| Ok(pb::WatchResponse { change: change? })).boxed()))
    }
}
