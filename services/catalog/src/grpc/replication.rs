//! The catalogue's streams.

use super::change;
use crate::{domain::Product, set::Catalogue};
use futures_util::stream::BoxStream;
use replication::{Position, Told};
use service_runtime::Copied;
use shop_proto::catalog_v1::{self as pb, catalog_replication_service_server::CatalogReplicationService};
use tonic::{Request, Response, Status, async_trait};

/// `shop.catalog.v1.CatalogReplicationService`.
#[derive(Clone, Debug)]
pub struct Replication(pub Copied<Catalogue>);

#[async_trait]
impl CatalogReplicationService for Replication {
    type SubscribeStream = BoxStream<'static, Result<pb::SubscribeResponse, Status>>;
    type WatchStream = BoxStream<'static, Result<pb::WatchResponse, Status>>;

    async fn subscribe(
        &self,
        request: Request<pb::SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let &pb::SubscribeRequest { incarnation, sequence } = request.get_ref();
        let message = |told: Told<Product>| pb::SubscribeResponse {
            change: told.piece.as_ref().map(change),
            incarnation: told.position.incarnation,
            sequence: told.position.sequence,
            elapsed_ms: told.elapsed_ms,
            complete: told.complete,
            behind_ms: told.behind_ms,
        };
        self.0.subscribe(&request, Position { incarnation, sequence }, message)
    }

    async fn watch(&self, request: Request<pb::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let &pb::WatchRequest { incarnation, sequence } = request.get_ref();
        let message = |told: Told<Product>| pb::WatchResponse {
            change: told.piece.as_ref().map(change),
            incarnation: told.position.incarnation,
            sequence: told.position.sequence,
            elapsed_ms: told.elapsed_ms,
            complete: told.complete,
            behind_ms: told.behind_ms,
        };
        self.0.watch(&request, Position { incarnation, sequence }, message)
    }
}
