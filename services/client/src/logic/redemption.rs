//! How many orders of a user each coupon served.

use crate::trade::pricing_service_methods::WatchRedemptions;
use client_sdk::{Feed, FeedMessage, Piece, Position, UserFeed, UserKey};
use shop_logic::CampaignId;
use shop_proto::trade_v1::{Redemption, WatchRedemptionsRequest, WatchRedemptionsResponse};
use std::collections::HashMap;

/// How many orders of one user each campaign's coupon has served.
#[derive(Clone, Debug, Default)]
pub struct Redeemed(HashMap<CampaignId, u32>);

impl Redeemed {
    /// How many a campaign's coupon has.
    #[must_use]
    pub fn of(&self, campaign: &CampaignId) -> u32 {
        self.0.get(campaign).copied().unwrap_or(0)
    }
}

/// One user's redemptions, streamed from his home.
#[derive(Clone, Copy, Debug)]
pub struct RedemptionFeed;

impl Feed for RedemptionFeed {
    type Stream = WatchRedemptions;
    type Item = (CampaignId, u32);
    type Snapshot = Redeemed;

    fn read(message: WatchRedemptionsResponse) -> Result<FeedMessage<Self::Item>, String> {
        let WatchRedemptionsResponse {
            user_epoch,
            position,
            elapsed_ms,
            snapshot_start,
            snapshot_end,
            redemptions,
            complete,
        } = message;
        let position = Position { incarnation: user_epoch, sequence: position };
        if !snapshot_start && !snapshot_end && redemptions.is_empty() {
            return Ok(FeedMessage::heartbeat(elapsed_ms, position));
        }
        let redemption = |Redemption { campaign_id, redeemed_count }| {
            let campaign =
                CampaignId::new(&campaign_id).map_err(|error| format!("campaign \"{campaign_id}\": {error}"))?;
            Ok((campaign, redeemed_count))
        };
        let items = redemptions.into_iter().map(redemption).collect::<Result<_, String>>()?;
        let piece = Piece { position, snapshot_start, snapshot_end, items };
        Ok(FeedMessage::piece(elapsed_ms, piece).complete(complete))
    }

    fn apply(redeemed: &mut Redeemed, (campaign, count): Self::Item) {
        redeemed.0.insert(campaign, count);
    }

    fn bytes(redeemed: &Redeemed) -> usize {
        // An id has at most 64 bytes and two counters of its own.
        redeemed.0.capacity() * (size_of::<(CampaignId, u32)>() + 64 + 2 * size_of::<usize>())
    }
}

impl UserFeed for RedemptionFeed {
    fn subscribe(user: &UserKey, from: Option<Position>) -> WatchRedemptionsRequest {
        let Position { incarnation: user_epoch, sequence: position } = from.unwrap_or_default();
        // The service knows its users by text; any other key is one that it refuses itself.
        let user_id = String::from_utf8_lossy(user.as_bytes()).into_owned();
        WatchRedemptionsRequest { user_id, user_epoch, position }
    }
}
