//! Whom users follow, and since when in the order of the user's own writes.

use super::{Result, stored};
use crate::{Error, MAX_FOLLOWING};
use cell_map::UserKey;
use shop_logic::UserId;
use sqlx::{Row, SqliteConnection};
use std::collections::HashSet;
use storage::WorkError;

/// Rows of gone edges at which the oldest are deleted, and how many of them then stay.
const MAX_GONE: i64 = 10_000;
const KEPT_GONE: i64 = 5_000;

/// Whether a user (1) follows a target (2).
pub const IS_FOLLOWING: &str = "SELECT 1 FROM follow_edge WHERE user_key = ?1 AND target_id = ?2 AND following = 1";
/// Which of the targets in a JSON array (2) a user (1) follows.
pub const WHICH: &str = "
    SELECT target_id FROM follow_edge
    WHERE user_key = ?1 AND following = 1 AND target_id IN (SELECT value FROM json_each(?2))";
/// Whom a user (1) follows, after an id (2), at most so many (3).
pub const LIST: &str = "
    SELECT target_id FROM follow_edge WHERE user_key = ?1 AND target_id > ?2 AND following = 1
    ORDER BY target_id LIMIT ?3";
/// A user's (1) edges in the order of their last change, after a position and id (2, 3), at most so many (4).
pub const CHANGES: &str = "
    SELECT position, target_id, following FROM follow_edge WHERE user_key = ?1 AND (position, target_id) > (?2, ?3)
    ORDER BY position, target_id LIMIT ?4";
/// The position of the gone edge of a user (1) before which so many (2) older ones went.
pub const NTH_GONE: &str = "
    SELECT position FROM follow_edge WHERE user_key = ?1 AND following = 0 ORDER BY position LIMIT 1 OFFSET ?2";

/// An edge at its last change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edge {
    /// The user's position then.
    pub position: u64,
    /// Whom.
    pub target: String,
    /// Whether he follows since then.
    pub following: bool,
}

fn number(position: u64) -> Result<i64> {
    stored("position", i64::try_from(position))
}

fn json(targets: &[UserId]) -> Result<String> {
    let texts: Vec<&str> = targets.iter().map(UserId::as_str).collect();
    stored("id", serde_json::to_string(&texts))
}

/// Follows targets at the user's position; returns how many he did not follow before.
///
/// # Errors
/// [`Error::TooManyFollowed`] if they would be too many; with a failure of the database.
pub async fn follow(conn: &mut SqliteConnection, user: &UserKey, targets: &[UserId], position: u64) -> Result<u64> {
    let (json, position) = (json(targets)?, number(position)?);
    let revived: i64 = sqlx::query_scalar(
        "SELECT COUNT(*) FROM follow_edge
         WHERE user_key = ?1 AND following = 0 AND target_id IN (SELECT value FROM json_each(?2))",
    )
    .bind(user.as_bytes())
    .bind(&json)
    .fetch_one(&mut *conn)
    .await?;
    let changed = sqlx::query(
        "INSERT INTO follow_edge (user_key, target_id, following, position)
         SELECT ?1, value, 1, ?3 FROM json_each(?2) WHERE 1
         ON CONFLICT (user_key, target_id) DO UPDATE SET following = 1, position = excluded.position
         WHERE following = 0",
    )
    .bind(user.as_bytes())
    .bind(&json)
    .bind(position)
    .execute(&mut *conn)
    .await?
    .rows_affected();
    if changed == 0 {
        return Ok(0);
    }
    let following: i64 = sqlx::query_scalar(
        "INSERT INTO follow_summary (user_key, following, gone, floor) VALUES (?1, ?2, 0, 0)
         ON CONFLICT (user_key) DO UPDATE SET following = following + excluded.following, gone = gone - ?3
         RETURNING following",
    )
    .bind(user.as_bytes())
    .bind(number(changed)?)
    .bind(revived)
    .fetch_one(conn)
    .await?;
    if following > MAX_FOLLOWING { Err(WorkError::Business(Error::TooManyFollowed)) } else { Ok(changed) }
}

/// Follows a target no longer, from the user's position on; whether he did before.
///
/// # Errors
/// With a failure of the database.
pub async fn unfollow(conn: &mut SqliteConnection, user: &UserKey, target: &UserId, position: u64) -> Result<bool> {
    let changed = sqlx::query(
        "UPDATE follow_edge SET following = 0, position = ?3 WHERE user_key = ?1 AND target_id = ?2 AND following = 1",
    )
    .bind(user.as_bytes())
    .bind(target.as_str())
    .bind(number(position)?)
    .execute(&mut *conn)
    .await?;
    if changed.rows_affected() == 0 {
        return Ok(false);
    }
    let gone: i64 = sqlx::query_scalar(
        "UPDATE follow_summary SET following = following - 1, gone = gone + 1 WHERE user_key = ? RETURNING gone",
    )
    .bind(user.as_bytes())
    .fetch_one(&mut *conn)
    .await?;
    if gone > MAX_GONE {
        forget(conn, user, gone - KEPT_GONE).await?;
    }
    Ok(true)
}

/// Deletes the rows of so many edges that went longest ago, and notes up to where they may be missing.
async fn forget(conn: &mut SqliteConnection, user: &UserKey, oldest: i64) -> Result<()> {
    let floor: i64 = sqlx::query_scalar(NTH_GONE).bind(user.as_bytes()).bind(oldest - 1).fetch_one(&mut *conn).await?;
    let deleted = sqlx::query("DELETE FROM follow_edge WHERE user_key = ? AND following = 0 AND position <= ?")
        .bind(user.as_bytes())
        .bind(floor)
        .execute(&mut *conn)
        .await?;
    sqlx::query("UPDATE follow_summary SET gone = gone - ?, floor = ? WHERE user_key = ?")
        .bind(number(deleted.rows_affected())?)
        .bind(floor)
        .bind(user.as_bytes())
        .execute(conn)
        .await?;
    Ok(())
}

/// Whether a user follows a target.
///
/// # Errors
/// With a failure of the database.
pub async fn is_following(conn: &mut SqliteConnection, user: &UserKey, target: &UserId) -> Result<bool> {
    let found = sqlx::query(IS_FOLLOWING).bind(user.as_bytes()).bind(target.as_str()).fetch_optional(conn).await?;
    Ok(found.is_some())
}

/// Which of the targets a user follows.
///
/// # Errors
/// With a failure of the database.
pub async fn which(conn: &mut SqliteConnection, user: &UserKey, targets: &[UserId]) -> Result<HashSet<String>> {
    let found = sqlx::query_scalar(WHICH).bind(user.as_bytes()).bind(json(targets)?).fetch_all(conn).await?;
    Ok(found.into_iter().collect())
}

/// Whom a user follows, by id, those after `after` (empty: from the beginning).
///
/// # Errors
/// With a failure of the database.
pub async fn list_following(
    conn: &mut SqliteConnection,
    user: &UserKey,
    after: &str,
    limit: i64,
) -> Result<Vec<String>> {
    Ok(sqlx::query_scalar(LIST).bind(user.as_bytes()).bind(after).bind(limit).fetch_all(conn).await?)
}

/// A user's edges in the order of their last change, those after the position and id.
///
/// # Errors
/// With a failure of the database.
pub async fn changes(
    conn: &mut SqliteConnection,
    user: &UserKey,
    (position, target): (u64, &str),
    limit: usize,
) -> Result<Vec<Edge>> {
    let rows = sqlx::query(CHANGES)
        .bind(user.as_bytes())
        .bind(number(position)?)
        .bind(target)
        .bind(stored("limit", i64::try_from(limit))?)
        .fetch_all(conn)
        .await?;
    let edge = |row: &sqlx::sqlite::SqliteRow| {
        let position = stored("position", u64::try_from(row.try_get::<i64, _>("position")?))?;
        Ok(Edge { position, target: row.try_get("target_id")?, following: row.try_get("following")? })
    };
    rows.iter().map(edge).collect()
}

/// Up to which position rows of gone edges may be missing.
///
/// # Errors
/// With a failure of the database.
pub async fn floor(conn: &mut SqliteConnection, user: &UserKey) -> Result<u64> {
    let floor: Option<i64> = sqlx::query_scalar("SELECT floor FROM follow_summary WHERE user_key = ?")
        .bind(user.as_bytes())
        .fetch_optional(conn)
        .await?;
    stored("floor", u64::try_from(floor.unwrap_or(0)))
}
