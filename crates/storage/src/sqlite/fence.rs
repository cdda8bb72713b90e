//! The fence's one query.

use crate::{StorageError, engine::Fenced, ownership::row};
use cell_map::{BucketId, UserKey, ownership::KeyRows};
use sqlx::{Row as _, SqliteConnection};

/// The key's bucket, user and away rows, and his position. Almost always the user has neither of the second and third.
const FENCE: &str = "
    SELECT b.state, b.bucket_epoch, b.to_cell, b.move_id, b.attempt,
           u.state, u.cell, u.user_epoch, u.move_id, u.attempt,
           a.cell, a.user_epoch, p.position
    FROM cell_bucket AS b
    LEFT JOIN cell_user AS u ON u.user_key = ?1
    LEFT JOIN away AS a ON a.user_key = ?1
    LEFT JOIN user_position AS p ON p.user_key = ?1
    WHERE b.bucket = ?2";

pub(super) async fn rows(
    connection: &mut SqliteConnection,
    bucket: BucketId,
    key: &UserKey,
) -> Result<Option<Fenced>, StorageError> {
    let query = sqlx::query(FENCE).bind(key.as_bytes()).bind(i64::from(bucket.get()));
    let Some(found) = query.fetch_optional(connection).await? else { return Ok(None) };
    let bucket =
        row::bucket(found.try_get(0)?, found.try_get(1)?, found.try_get(2)?, found.try_get(3)?, found.try_get(4)?)?;
    let user = match found.try_get(5)? {
        None => None,
        Some(state) => {
            Some(row::user(state, found.try_get(6)?, found.try_get(7)?, found.try_get(8)?, found.try_get(9)?)?)
        }
    };
    let away = match found.try_get(10)? {
        None => None,
        Some(cell) => Some(row::away(cell, found.try_get(11)?)?),
    };
    let position = found.try_get::<Option<i64>, _>(12)?.unwrap_or(0);
    let position = u64::try_from(position)
        .map_err(|_| StorageError::Corrupt(format!("table \"user_position\": position {position} is negative")))?;
    Ok(Some(Fenced { rows: KeyRows { bucket, user, away }, position }))
}
