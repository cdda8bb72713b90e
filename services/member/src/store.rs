//! All SQL of member. Functions take the connection of a transaction that the caller has fenced.

mod activity;
pub mod follow;
mod profile;

pub use activity::{apply, list};
pub use follow::{Edge, changes, floor, follow, is_following, list_following, unfollow, which};
pub use profile::{find, find_all, insert};

use crate::Error;
use storage::{Migration, TableSpec, UserTables, WorkError};

/// Tables of this service, oldest version first.
pub const MIGRATIONS: &[Migration] = &[
    Migration { module: "member", version: 1, name: "members", sql: include_str!("../migrations/0001_member.sql") },
    Migration { module: "member", version: 2, name: "follows", sql: include_str!("../migrations/0002_follow.sql") },
];

/// Tables with users' data: what moves with a user (OWN-13).
#[must_use]
pub fn user_tables() -> UserTables {
    UserTables::new(
        "member",
        vec![
            TableSpec::new("member_profile", &[]),
            TableSpec::new("member_activity", &["user_epoch", "sequence", "event_id"]),
            TableSpec::new("member_inbox", &["consumer", "event_id"]),
            TableSpec::new("follow_edge", &["target_id"]),
            TableSpec::new("follow_summary", &[]),
        ],
    )
}

/// How a statement ends: well, with a rule of member, or with a failure of the database.
pub type Result<T> = std::result::Result<T, WorkError<Error>>;

/// Reads a stored value, or says that it is damaged.
fn stored<T, E>(what: &'static str, value: std::result::Result<T, E>) -> Result<T> {
    value.or(Err(WorkError::Business(Error::Stored { what })))
}
