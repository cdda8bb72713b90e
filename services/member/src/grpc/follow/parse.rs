//! From messages to edges.

use super::super::parse::{finish, user};
use crate::{DEFAULT_FOLLOW_PAGE, Error, MAX_BATCH_FOLLOW, MAX_FOLLOW_PAGE};
use cell_map::UserKey;
use shop_logic::{InvalidError, UserId, Violations};
use shop_proto::follow_v1 as pb;
use storage::PageSize;

/// Edges to be written.
pub(super) struct Edges {
    pub(super) user: UserKey,
    pub(super) targets: Vec<UserId>,
}

pub(super) fn follow(request: &pb::FollowRequest) -> Result<Edges, Error> {
    edges(&request.user_id, std::slice::from_ref(&request.target_id), |_| "target_id".to_owned())
}

pub(super) fn batch_follow(request: &pb::BatchFollowRequest) -> Result<Edges, Error> {
    edges(&request.user_id, &request.target_ids, |at| format!("target_ids[{at}]"))
}

fn edges(user_id: &str, target_ids: &[String], field: impl Fn(usize) -> String) -> Result<Edges, Error> {
    let mut violations = Violations::new();
    let user = user("user_id", user_id, &mut violations);
    let counted = violations.take("target_ids", InvalidError::count(target_ids.len(), MAX_BATCH_FOLLOW));
    let targets = counted.and_then(|_| {
        let checked = target_ids.iter().enumerate().map(|(at, id)| {
            if id == user_id {
                violations.note(field(at), &"is the user himself");
            }
            violations.take(field(at), UserId::new(id))
        });
        // All of them, so that every fault is told.
        checked.collect::<Vec<_>>().into_iter().collect()
    });
    finish(violations, user.zip(targets).map(|(user, targets)| Edges { user, targets }))
}

pub(super) fn unfollow(request: &pb::UnfollowRequest) -> Result<(UserKey, UserId), Error> {
    edge(&request.user_id, &request.target_id)
}

pub(super) fn is_following(request: &pb::IsFollowingRequest) -> Result<(UserKey, UserId), Error> {
    edge(&request.user_id, &request.target_id)
}

fn edge(user_id: &str, target_id: &str) -> Result<(UserKey, UserId), Error> {
    let mut violations = Violations::new();
    let user = user("user_id", user_id, &mut violations);
    let target = violations.take("target_id", UserId::new(target_id));
    finish(violations, user.zip(target))
}

/// Every target answers for itself.
type Each = Vec<Result<UserId, InvalidError>>;

pub(super) fn batch_is_following(request: &pb::BatchIsFollowingRequest) -> Result<(UserKey, Each), Error> {
    let mut violations = Violations::new();
    let user = user("user_id", &request.user_id, &mut violations);
    let counted = violations.take("target_ids", InvalidError::count(request.target_ids.len(), MAX_BATCH_FOLLOW));
    let targets = counted.map(|_| request.target_ids.iter().map(|id| UserId::new(id)).collect());
    finish(violations, user.zip(targets))
}

pub(super) fn list_following(request: &pb::ListFollowingRequest) -> Result<(UserKey, PageSize), Error> {
    let mut violations = Violations::new();
    let user = user("user_id", &request.user_id, &mut violations);
    let size = PageSize::from_request(request.page_size, DEFAULT_FOLLOW_PAGE, MAX_FOLLOW_PAGE);
    let size = violations.take("page_size", size);
    finish(violations, user.zip(size))
}

pub(super) fn user_id(text: &str) -> Result<UserKey, Error> {
    let mut violations = Violations::new();
    let user = user("user_id", text, &mut violations);
    finish(violations, user)
}
