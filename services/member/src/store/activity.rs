//! Activities, and the inbox that makes each event count once.

use super::{Result, stored};
use crate::domain::{Cursor, Event, Place};
use cell_map::UserKey;
use shop_logic::{EventKind, RequestId, Subject};
use sqlx::{Row, SqliteConnection};

/// The effect that the inbox guards.
const CONSUMER: &str = "activity";

/// Applies an event; `false` if it was applied before. Inbox and effect are one transaction.
///
/// # Errors
/// With a failure of the database.
pub async fn apply(conn: &mut SqliteConnection, user: &UserKey, event: &Event) -> Result<bool> {
    let noted = sqlx::query(
        "INSERT INTO member_inbox (user_key, consumer, event_id) VALUES (?, ?, ?)
         ON CONFLICT (user_key, consumer, event_id) DO NOTHING",
    )
    .bind(user.as_bytes())
    .bind(CONSUMER)
    .bind(event.id.as_str())
    .execute(&mut *conn)
    .await?;
    if noted.rows_affected() == 0 {
        return Ok(false);
    }
    sqlx::query(
        "INSERT INTO member_activity (user_key, user_epoch, sequence, event_id, kind, subject, event_time_ms)
         VALUES (?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(user.as_bytes())
    .bind(event.place.user_epoch)
    .bind(event.place.sequence)
    .bind(event.id.as_str())
    .bind(event.kind.as_str())
    .bind(event.subject.as_str())
    .bind(event.time_ms)
    .execute(conn)
    .await?;
    Ok(true)
}

/// A member's newest activities before `cursor` (`None`: the newest of all), newest first.
///
/// # Errors
/// With a failure of the database.
pub async fn list(
    conn: &mut SqliteConnection,
    user: &UserKey,
    before: Option<&Cursor>,
    limit: i64,
) -> Result<Vec<Event>> {
    // Greater than every key: epochs and sequences are never that large.
    let (place, event_id) = match before {
        Some(cursor) => (cursor.place, cursor.event_id.as_str()),
        None => (Place { user_epoch: i64::MAX, sequence: i64::MAX }, ""),
    };
    let rows = sqlx::query(
        "SELECT user_epoch, sequence, event_id, kind, subject, event_time_ms FROM member_activity
         WHERE user_key = ? AND (user_epoch, sequence, event_id) < (?, ?, ?)
         ORDER BY user_epoch DESC, sequence DESC, event_id DESC LIMIT ?",
    )
    .bind(user.as_bytes())
    .bind(place.user_epoch)
    .bind(place.sequence)
    .bind(event_id)
    .bind(limit)
    .fetch_all(conn)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(Event {
                id: stored("event id", RequestId::new(row.try_get("event_id")?))?,
                kind: stored("event kind", EventKind::new(row.try_get("kind")?))?,
                subject: stored("event subject", Subject::new(row.try_get("subject")?))?,
                time_ms: row.try_get("event_time_ms")?,
                place: Place { user_epoch: row.try_get("user_epoch")?, sequence: row.try_get("sequence")? },
            })
        })
        .collect()
}
