//! Campaigns.

use super::{Entry, Told};
use crate::campaign::campaign_replication_service_methods::Watch;
use client_sdk::{Feed, FeedMessage, GlobalFeed, Piece, Position};
use shop_logic::{Campaigns, Violations, campaign::Terms};
use shop_proto::campaign_v1::{Campaign, CampaignChange, WatchRequest, WatchResponse, campaign_from};

/// What makes orders cheaper.
#[derive(Clone, Debug, Default)]
pub struct InForce {
    campaigns: Campaigns,
    version: u64,
}

impl InForce {
    /// The campaigns, also those that are not in force now.
    #[must_use]
    pub const fn campaigns(&self) -> &Campaigns {
        &self.campaigns
    }

    /// Their version.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }
}

/// The campaigns, streamed from the nearest cell.
#[derive(Clone, Copy, Debug)]
pub struct CampaignFeed;

impl Feed for CampaignFeed {
    type Stream = Watch;
    type Item = Entry<Terms>;
    type Snapshot = InForce;

    fn read(message: WatchResponse) -> Result<FeedMessage<Self::Item>, String> {
        let WatchResponse { change, incarnation, sequence, elapsed_ms, complete, behind_ms } = message;
        let position = Position { incarnation, sequence };
        Told { position, elapsed_ms, behind_ms, complete, change: change.as_ref().map(piece) }.message()
    }

    fn apply(in_force: &mut InForce, entry: Self::Item) {
        match entry {
            Entry::UpTo(version) => in_force.version = version,
            Entry::Is(terms) => in_force.campaigns.put(terms),
        }
    }

    fn bytes(in_force: &InForce) -> usize {
        in_force.campaigns.bytes()
    }
}

impl GlobalFeed for CampaignFeed {
    fn subscribe(from: Option<Position>) -> WatchRequest {
        let Position { incarnation, sequence } = from.unwrap_or_default();
        WatchRequest { incarnation, sequence }
    }
}

fn piece(change: &CampaignChange) -> Piece<Result<Terms, String>> {
    let terms = |campaign: &Campaign| {
        let mut violations = Violations::new();
        let parsed = campaign_from(campaign, &mut violations);
        let parsed = violations.finish(parsed.map(|campaign| campaign.terms));
        parsed.map_err(|faults| format!("campaign \"{}\": {faults}", campaign.campaign_id))
    };
    Piece {
        position: Position { incarnation: change.incarnation, sequence: change.sequence },
        snapshot_start: change.snapshot_start,
        snapshot_end: change.snapshot_end,
        items: change.campaigns.iter().map(terms).collect(),
    }
}
