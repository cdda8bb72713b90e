//! From messages to member's types: every fault of a request is told at once.

use crate::{
    DEFAULT_PAGE, Error, MAX_BATCH, MAX_PAGE,
    domain::{Event, Place},
};
use cell_map::UserKey;
use shop_logic::{DisplayName, EventKind, InvalidError, RequestId, Subject, UserId, Violations};
use shop_proto::member_v1 as pb;
use storage::PageSize;

/// A registration; without a request id, every call registers anew.
pub(super) struct Register {
    pub(super) request_id: Option<RequestId>,
    pub(super) display_name: DisplayName,
}

pub(super) fn register(request: &pb::RegisterRequest) -> Result<Register, Error> {
    let mut violations = Violations::new();
    let request_id = match &*request.request_id {
        "" => Some(None),
        id => violations.take("request_id", RequestId::new(id)).map(Some),
    };
    let display_name = violations.take("display_name", DisplayName::new(&request.display_name));
    let parts = request_id.zip(display_name);
    finish(violations, parts.map(|(request_id, display_name)| Register { request_id, display_name }))
}

pub(super) fn get_member(request: &pb::GetMemberRequest) -> Result<UserKey, Error> {
    let mut violations = Violations::new();
    let user = user("user_id", &request.user_id, &mut violations);
    finish(violations, user)
}

pub(super) fn batch_get_members(request: &pb::BatchGetMembersRequest) -> Result<Vec<UserKey>, Error> {
    let mut violations = Violations::new();
    let counted = violations.take("user_ids", InvalidError::count(request.user_ids.len(), MAX_BATCH));
    let users = counted.and_then(|_| {
        let ids = request.user_ids.iter().enumerate();
        let users: Vec<_> = ids.map(|(at, id)| user(&format!("user_ids[{at}]"), id, &mut violations)).collect();
        users.into_iter().collect()
    });
    finish(violations, users)
}

pub(super) fn deliver_event(request: &pb::DeliverEventRequest) -> Result<(UserKey, Event), Error> {
    let mut violations = Violations::new();
    let user = user("user_id", &request.user_id, &mut violations);
    let id = violations.take("event_id", RequestId::new(&request.event_id));
    let kind = violations.take("kind", EventKind::new(&request.kind));
    let subject = violations.take("subject", Subject::new(&request.subject));
    let time_ms = violations.take("event_time_ms", InvalidError::range(request.event_time_ms, 0..=i64::MAX));
    let user_epoch = number("user_epoch", request.user_epoch, &mut violations);
    let sequence = number("sequence", request.sequence, &mut violations);
    let event = (|| {
        let place = Place { user_epoch: user_epoch?, sequence: sequence? };
        Some(Event { id: id?, kind: kind?, subject: subject?, time_ms: time_ms?, place })
    })();
    finish(violations, user.zip(event))
}

pub(super) fn list_activities(request: &pb::ListActivitiesRequest) -> Result<(UserKey, PageSize), Error> {
    let mut violations = Violations::new();
    let user = user("user_id", &request.user_id, &mut violations);
    let size = PageSize::from_request(request.page_size, DEFAULT_PAGE, MAX_PAGE);
    let size = violations.take("page_size", size);
    finish(violations, user.zip(size))
}

pub(super) fn user(field: &str, text: &str, violations: &mut Violations) -> Option<UserKey> {
    let id = violations.take(field, UserId::new(text))?;
    violations.take(field, UserKey::from_text(id.as_str()))
}

/// A number that fits into a column. The largest is left out: it stands for "before the first page".
fn number(field: &str, value: u64, violations: &mut Violations) -> Option<i64> {
    const MAX: i64 = i64::MAX - 1;
    let value = i64::try_from(value).unwrap_or(i64::MAX);
    violations.take(field, InvalidError::range(value, 0..=MAX))
}

pub(super) fn finish<T>(violations: Violations, parts: Option<T>) -> Result<T, Error> {
    violations.finish(parts).map_err(Error::Invalid)
}
