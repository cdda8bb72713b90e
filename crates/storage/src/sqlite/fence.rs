//! The fence's one query.

use crate::{StorageError, engine::Fenced, ownership::row};
use cell_map::{BucketId, UserKey, ownership::KeyRows};
use sqlx::{Row as _, SqliteConnection, sqlite::SqliteRow};

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

/// The same for several keys, given as `[["key in hex", bucket], …]`, each with its place among them. CROSS JOIN: the
/// buckets are looked up for the keys, not the keys for each bucket.
const FENCE_EACH: &str = "
    SELECT b.state, b.bucket_epoch, b.to_cell, b.move_id, b.attempt,
           u.state, u.cell, u.user_epoch, u.move_id, u.attempt,
           a.cell, a.user_epoch, p.position, k.place
    FROM (SELECT key AS place, unhex(value ->> 0) AS user_key, value ->> 1 AS bucket FROM json_each(?1)) AS k
    CROSS JOIN cell_bucket AS b ON b.bucket = k.bucket
    LEFT JOIN cell_user AS u ON u.user_key = k.user_key
    LEFT JOIN away AS a ON a.user_key = k.user_key
    LEFT JOIN user_position AS p ON p.user_key = k.user_key";

pub(super) async fn rows(
    connection: &mut SqliteConnection,
    bucket: BucketId,
    key: &UserKey,
) -> Result<Option<Fenced>, StorageError> {
    let query = sqlx::query(FENCE).bind(key.as_bytes()).bind(i64::from(bucket.get()));
    query.fetch_optional(connection).await?.map(|row| fenced(&row)).transpose()
}

pub(super) async fn rows_of_each(
    connection: &mut SqliteConnection,
    keys: &[(BucketId, &UserKey)],
) -> Result<Vec<Option<Fenced>>, StorageError> {
    let asked = keys.iter().map(|(bucket, key)| format!("[\"{}\",{}]", key.to_hex(), bucket.get()));
    let asked = format!("[{}]", asked.collect::<Vec<_>>().join(","));
    let mut found: Vec<Option<Fenced>> = keys.iter().map(|_| None).collect();
    if keys.is_empty() {
        return Ok(found);
    }
    for row in sqlx::query(FENCE_EACH).bind(asked).fetch_all(connection).await? {
        let place = row.try_get::<i64, _>(13)?;
        let place = usize::try_from(place).ok().and_then(|place| found.get_mut(place));
        *place.ok_or_else(|| StorageError::Corrupt("a fence's row is of no key".into()))? = Some(fenced(&row)?);
    }
    Ok(found)
}

fn fenced(found: &SqliteRow) -> Result<Fenced, StorageError> {
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
    Ok(Fenced { rows: KeyRows { bucket, user, away }, position })
}
