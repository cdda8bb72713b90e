//! What a member and an activity are, before any table or message.

use cell_map::UserKey;
use serde::{Deserialize, Serialize};
use shop_logic::{DisplayName, EventKind, RequestId, Subject};

/// A member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Opaque id, the user key.
    pub id: UserKey,
    /// Name shown to others.
    pub display_name: DisplayName,
    /// When he registered, in milliseconds since the Unix epoch.
    pub create_time_ms: i64,
}

/// Something that happened to a member, as its writer told it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Unique among the member's events.
    pub id: RequestId,
    /// What kind.
    pub kind: EventKind,
    /// What it is about.
    pub subject: Subject,
    /// When, in milliseconds since the Unix epoch.
    pub time_ms: i64,
    /// Where it stands among the member's events.
    pub place: Place,
}

/// The order of a member's events: by the owner's epoch, then by the writer's sequence (OWN-13), never by clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// The owner's epoch when it happened.
    pub user_epoch: i64,
    /// Position among the events of that writer.
    pub sequence: i64,
}

/// Where a page of activities ends: the last entry's key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// Its place.
    pub place: Place,
    /// Its event id.
    pub event_id: String,
}

impl Event {
    /// Its key, for a page that ends with it.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        Cursor { place: self.place, event_id: self.id.to_string() }
    }
}
