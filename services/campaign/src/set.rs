//! Campaigns as a set of global data.

use crate::{
    Error,
    grpc::message_from,
    seed,
    store::{self, POSITION},
};
use futures_util::StreamExt as _;
use replication::Position;
use service_runtime::{Context, CopyError, DataSet, SetStream};
use shop_logic::Campaign;
use shop_proto::campaign_v1::{
    SubscribeRequest, campaign_replication_service_client::CampaignReplicationServiceClient,
};
use storage::{Positions, Tx};

/// All campaigns.
#[derive(Clone, Debug, Default)]
pub struct CampaignSet {
    /// Written where they are missing when the global cell begins to write.
    pub seeds: Vec<Campaign>,
}

impl DataSet for CampaignSet {
    type Item = Campaign;
    type Error = Error;

    const NAME: &'static str = "campaigns";
    const POSITIONS: Positions = POSITION;

    fn version(campaign: &Campaign) -> u64 {
        campaign.version
    }

    async fn after(tx: &mut Tx, sequence: u64, limit: i64) -> store::Result<Vec<Campaign>> {
        store::after(tx.conn(), sequence, limit).await
    }

    async fn put(tx: &mut Tx, campaign: &Campaign) -> store::Result<()> {
        store::put(tx.conn(), campaign).await
    }

    async fn clear(tx: &mut Tx) -> store::Result<()> {
        store::clear(tx.conn()).await
    }

    async fn seed(&self, tx: &mut Tx) -> store::Result<()> {
        seed::write(tx, &self.seeds).await
    }

    async fn subscribe(context: &Context, Position { incarnation, sequence }: Position) -> SetStream<Self> {
        let mut client = CampaignReplicationServiceClient::new(context.mesh.clone());
        let request = context.as_follower(SubscribeRequest { incarnation, sequence });
        let stream = client.subscribe(request).await?.into_inner();
        Ok(stream.map(|message| message_from(&message?).map_err(|faults| CopyError::Item(faults.into()))).boxed())
    }
}
