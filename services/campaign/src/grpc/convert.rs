//! Pieces of the campaigns as messages, and back.

use replication::{Piece, Position, Told};
use shop_logic::{Campaign, Violations};
use shop_proto::campaign_v1::{self as pb, campaign_from};

/// A piece of the campaigns as a message.
pub(super) fn change(piece: &Piece<Campaign>) -> pb::CampaignChange {
    pb::CampaignChange {
        incarnation: piece.position.incarnation,
        sequence: piece.position.sequence,
        snapshot_start: piece.snapshot_start,
        snapshot_end: piece.snapshot_end,
        campaigns: piece.items.iter().map(Into::into).collect(),
    }
}

/// A message of the writer's stream.
pub(crate) fn message_from(message: &pb::SubscribeResponse) -> Result<Told<Campaign>, Violations> {
    Ok(Told {
        piece: message.change.as_ref().map(piece_from).transpose()?,
        position: Position { incarnation: message.incarnation, sequence: message.sequence },
        elapsed_ms: message.elapsed_ms,
        complete: message.complete,
        behind_ms: message.behind_ms,
    })
}

fn piece_from(change: &pb::CampaignChange) -> Result<Piece<Campaign>, Violations> {
    let mut violations = Violations::new();
    let items = change.campaigns.iter().filter_map(|campaign| campaign_from(campaign, &mut violations)).collect();
    Ok(Piece {
        position: Position { incarnation: change.incarnation, sequence: change.sequence },
        snapshot_start: change.snapshot_start,
        snapshot_end: change.snapshot_end,
        items: violations.finish(Some(items))?,
    })
}
