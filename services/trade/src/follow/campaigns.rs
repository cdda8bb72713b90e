//! Campaigns.

use crate::{
    Error,
    store::{self, CAMPAIGN_POSITION},
};
use futures_util::StreamExt as _;
use replication::{Batch, Messages, Piece, Position, Replica, Told};
use service_runtime::{Context, CopyError, Gate};
use shop_logic::{Violations, campaign::Terms};
use shop_proto::campaign_v1::{
    CampaignChange, WatchRequest, WatchResponse, campaign_from,
    campaign_replication_service_client::CampaignReplicationServiceClient,
};

type Result<T> = std::result::Result<T, CopyError<Error>>;

/// The campaigns, as far as they count for prices.
pub(crate) struct Campaigns {
    pub(crate) context: Context,
    /// Opened when it is known what counts.
    pub(crate) gate: Gate,
}

impl Replica for Campaigns {
    type Item = Terms;
    type Error = CopyError<Error>;

    const NAME: &'static str = "campaigns in force";

    async fn position(&mut self) -> Result<Option<Position>> {
        Ok(CAMPAIGN_POSITION.follow_from(&self.context.db).await?)
    }

    async fn open(&mut self, Position { incarnation, sequence }: Position) -> Result<Messages<Terms, Self::Error>> {
        let mut client = CampaignReplicationServiceClient::new(self.context.mesh.clone());
        let request = self.context.as_follower(WatchRequest { incarnation, sequence });
        let stream = client.watch(request).await?.into_inner();
        let told = |message| told(&message).map_err(|faults| CopyError::Item(Error::Campaign(faults)));
        Ok(stream.map(move |message| told(message?)).boxed())
    }

    async fn apply(&mut self, batch: Batch<Terms>) -> Result<()> {
        Ok(self.context.db.global(move |tx| Box::pin(async move { store::apply_campaigns(tx, &batch).await })).await?)
    }

    fn applied(&mut self) {
        self.gate.open();
    }
}

fn told(message: &WatchResponse) -> std::result::Result<Told<Terms>, Violations> {
    Ok(Told {
        piece: message.change.as_ref().map(piece).transpose()?,
        position: Position { incarnation: message.incarnation, sequence: message.sequence },
        elapsed_ms: message.elapsed_ms,
        complete: message.complete,
        behind_ms: message.behind_ms,
    })
}

fn piece(change: &CampaignChange) -> std::result::Result<Piece<Terms>, Violations> {
    let mut violations = Violations::new();
    let campaigns = change.campaigns.iter().filter_map(|campaign| campaign_from(campaign, &mut violations));
    let items = campaigns.map(|campaign| campaign.terms).collect();
    Ok(Piece {
        position: Position { incarnation: change.incarnation, sequence: change.sequence },
        snapshot_start: change.snapshot_start,
        snapshot_end: change.snapshot_end,
        items: violations.finish(Some(items))?,
    })
}
