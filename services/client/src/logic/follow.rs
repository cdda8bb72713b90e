//! Whether a user follows another, from his own list.

use crate::follow::follow_service_methods::{IsFollowing, WatchFollowing};
use client_sdk::{Feed, FeedMessage, LocalLogic, PerUser, Piece, Position, UserFeed, UserKey, Verdict};
use shop_logic::{FollowChange, Following};
use shop_proto::follow_v1::{IsFollowingRequest, IsFollowingResponse, WatchFollowingRequest, WatchFollowingResponse};

/// Whom one user follows, streamed from his home.
#[derive(Clone, Copy, Debug)]
pub struct FollowFeed;

impl Feed for FollowFeed {
    type Stream = WatchFollowing;
    type Item = FollowChange;
    type Snapshot = Following;

    fn read(message: WatchFollowingResponse) -> Result<FeedMessage<FollowChange>, String> {
        let WatchFollowingResponse {
            user_epoch,
            position,
            elapsed_ms,
            snapshot_start,
            snapshot_end,
            followed,
            unfollowed,
            complete,
        } = message;
        let position = Position { incarnation: user_epoch, sequence: position };
        if !snapshot_start && !snapshot_end && followed.is_empty() && unfollowed.is_empty() {
            return Ok(FeedMessage::heartbeat(elapsed_ms, position));
        }
        let change = FollowChange { snapshot_start, snapshot_end, followed, unfollowed };
        let piece = Piece { position, snapshot_start, snapshot_end, items: vec![change] };
        Ok(FeedMessage::piece(elapsed_ms, piece).complete(complete))
    }

    fn apply(snapshot: &mut Following, change: FollowChange) {
        snapshot.apply(change);
    }

    fn bytes(snapshot: &Following) -> usize {
        snapshot.bytes()
    }
}

impl UserFeed for FollowFeed {
    fn subscribe(user: &UserKey, from: Option<Position>) -> WatchFollowingRequest {
        let Position { incarnation: user_epoch, sequence: position } = from.unwrap_or_default();
        // The service knows its users by text; any other key is one that it refuses itself.
        let user_id = String::from_utf8_lossy(user.as_bytes()).into_owned();
        WatchFollowingRequest { user_id, user_epoch, position }
    }
}

/// Answers `FollowService/IsFollowing`.
#[derive(Clone, Copy, Debug)]
pub struct FollowCheck;

impl LocalLogic for FollowCheck {
    type Method = IsFollowing;
    type Data = PerUser<FollowFeed>;

    const NAME: &'static str = "follow";
    const MAJOR: u32 = 1;
    const MINOR: u32 = 0;
    const USES_TIME: bool = false;

    fn eval(&self, following: &Following, _: i64, request: &IsFollowingRequest) -> Verdict<IsFollowingResponse> {
        // What the server refuses is not answered here.
        if !(1..=256).contains(&request.target_id.len()) {
            return Verdict::Unsure;
        }
        following
            .check(&request.target_id)
            .map_or(Verdict::Unsure, |following| Verdict::Answer(IsFollowingResponse { following }))
    }
}
