//! Profiles.

use super::{Result, stored};
use crate::domain::Member;
use cell_map::UserKey;
use shop_logic::DisplayName;
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};
use std::collections::HashMap;

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
    row.map(|row| member(id, &row)).transpose()
}

/// Those of several members who are there.
///
/// # Errors
/// With a failure of the database.
pub async fn find_all(conn: &mut SqliteConnection, ids: &[UserKey]) -> Result<HashMap<UserKey, Member>> {
    let asked = format!("[\"{}\"]", ids.iter().map(UserKey::to_hex).collect::<Vec<_>>().join("\",\""));
    let rows = sqlx::query(
        "SELECT user_key, display_name, create_time_ms FROM member_profile
         WHERE user_key IN (SELECT unhex(value) FROM json_each(?))",
    )
    .bind(asked)
    .fetch_all(conn)
    .await?;
    let members = rows.iter().map(|row| {
        let id = stored("user key", UserKey::from_bytes(row.try_get("user_key")?))?;
        Ok((id.clone(), member(&id, row)?))
    });
    members.collect()
}

fn member(id: &UserKey, row: &SqliteRow) -> Result<Member> {
    Ok(Member {
        id: id.clone(),
        display_name: stored("display name", DisplayName::new(row.try_get("display_name")?))?,
        create_time_ms: row.try_get("create_time_ms")?,
    })
}
