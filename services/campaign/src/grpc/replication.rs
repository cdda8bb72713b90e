//! The streams of campaigns.

use super::change;
use crate::CampaignSet;
use futures_util::stream::BoxStream;
use replication::{Position, Told};
use service_runtime::Copied;
use shop_logic::Campaign;
use shop_proto::campaign_v1::{self as pb, campaign_replication_service_server::CampaignReplicationService};
use tonic::{Request, Response, Status, async_trait};

/// `shop.campaign.v1.CampaignReplicationService`.
#[derive(Clone, Debug)]
pub struct Replication(pub Copied<CampaignSet>);

#[async_trait]
impl CampaignReplicationService for Replication {
    type SubscribeStream = BoxStream<'static, Result<pb::SubscribeResponse, Status>>;
    type WatchStream = BoxStream<'static, Result<pb::WatchResponse, Status>>;

    async fn subscribe(
        &self,
        request: Request<pb::SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let &pb::SubscribeRequest { incarnation, sequence } = request.get_ref();
        let message = |told: Told<Campaign>| pb::SubscribeResponse {
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
        let message = |told: Told<Campaign>| pb::WatchResponse {
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
