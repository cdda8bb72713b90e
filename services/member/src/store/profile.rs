//! Profiles.

use super::{Result, stored};
use crate::domain::Member;
use cell_map::UserKey;
use shop_logic::DisplayName;
use sqlx::{Row, SqliteConnection};

/// Writes a new member. Fails on a key that is taken.
///
/// # Errors
/// With a failure of the database.
pub async fn insert(conn: &mut SqliteConnection, member: &Member) -> Result<()> {
    sqlx::query("INSERT INTO member_profile (user_key, display_name, create_time_ms) VALUES (?, ?, ?)")
        .bind(member.id.as_bytes())
        .bind(member.display_name.as_str())
        .bind(member.create_time_ms)
        .execute(conn)
        .await?;
    Ok(())
}

/// One member.
///
/// # Errors
/// With a failure of the database.
pub async fn find(conn: &mut SqliteConnection, id: &UserKey) -> Result<Option<Member>> {
    let row = sqlx::query("SELECT display_name, create_time_ms FROM member_profile WHERE user_key = ?")
        .bind(id.as_bytes())
        .fetch_optional(conn)
        .await?;
    row.map(|row| {
        Ok(Member {
            id: id.clone(),
            display_name: stored("display name", DisplayName::new(row.try_get("display_name")?))?,
            create_time_ms: row.try_get("create_time_ms")?,
        })
    })
    .transpose()
}
