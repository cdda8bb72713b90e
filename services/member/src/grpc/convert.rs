//! From member's types to messages.

use crate::domain::{Event, Member};
use cell_map::UserKey;
use shop_proto::member_v1 as pb;

/// A user key as it stands in messages: the shop's user ids are strings.
pub(super) fn user_id(user: &UserKey) -> String {
    String::from_utf8_lossy(user.as_bytes()).into_owned()
}

impl From<&Member> for pb::Member {
    fn from(member: &Member) -> Self {
        Self {
            user_id: user_id(&member.id),
            display_name: member.display_name.to_string(),
            create_time_ms: member.create_time_ms,
        }
    }
}

impl From<&Event> for pb::Activity {
    fn from(event: &Event) -> Self {
        Self {
            event_id: event.id.to_string(),
            kind: event.kind.to_string(),
            subject: event.subject.to_string(),
            event_time_ms: event.time_ms,
        }
    }
}
