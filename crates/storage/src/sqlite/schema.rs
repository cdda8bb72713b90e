//! Tables of this crate in SQLite.

/// Oldest first. Applied ones are never edited.
pub(super) const SCHEMA: &[(&str, &str)] =
    &[("ownership, idempotency, outbox", FIRST), ("positions of users' data", SECOND)];

const FIRST: &str = "
-- Whose database this is: one row.
CREATE TABLE cell_identity (
  id   INTEGER PRIMARY KEY CHECK (id = 1),
  cell TEXT NOT NULL
) STRICT;

-- What each of the 65,536 buckets is to this cell. Every bucket has a row; a missing one refuses the transaction.
CREATE TABLE cell_bucket (
  bucket       INTEGER PRIMARY KEY CHECK (bucket BETWEEN 0 AND 65535),
  state        TEXT    NOT NULL CHECK (state IN ('home', 'reserved', 'moving', 'gone')),
  -- orders the homes of the bucket
  bucket_epoch INTEGER NOT NULL CHECK (bucket_epoch >= 0),
  -- moving: where to; gone: where it is, as far as this cell knows
  to_cell      TEXT,
  -- moving: by which move (32 hex digits) and which attempt of it
  move_id      TEXT,
  attempt      INTEGER,
  CHECK ((to_cell IS NOT NULL) = (state IN ('moving', 'gone'))),
  CHECK ((move_id IS NOT NULL) = (state = 'moving') AND (attempt IS NOT NULL) = (state = 'moving'))
) STRICT;

-- Users with a state of their own. Rows are never deleted, only data is.
CREATE TABLE cell_user (
  user_key   BLOB    PRIMARY KEY,
  -- the key's bucket, to find the users of one
  bucket     INTEGER NOT NULL,
  state      TEXT    NOT NULL CHECK (state IN ('home', 'frozen', 'importing', 'moved_to')),
  -- importing: where from; moved_to: where to
  cell       TEXT,
  user_epoch INTEGER NOT NULL CHECK (user_epoch >= 0),
  -- the move that holds, or last wrote, the row
  move_id    TEXT,
  attempt    INTEGER,
  CHECK ((cell IS NOT NULL) = (state IN ('importing', 'moved_to'))),
  CHECK ((move_id IS NULL) = (attempt IS NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX cell_user_by_bucket ON cell_user (bucket);

-- In the bucket's home: where each user lives that is pinned elsewhere.
CREATE TABLE away (
  user_key   BLOB    PRIMARY KEY,
  bucket     INTEGER NOT NULL,
  cell       TEXT    NOT NULL,
  user_epoch INTEGER NOT NULL CHECK (user_epoch >= 0)
) STRICT, WITHOUT ROWID;
CREATE INDEX away_by_bucket ON away (bucket);

-- Answers of calls that must take effect once. user_key is empty for calls that no user owns.
CREATE TABLE idempotency (
  user_key   BLOB    NOT NULL,
  method     TEXT    NOT NULL,
  request_id TEXT    NOT NULL,
  -- BLAKE3 of the request: tells a repetition from an id used twice
  body_hash  BLOB    NOT NULL CHECK (length(body_hash) = 32),
  response   BLOB    NOT NULL,
  expires_ms INTEGER NOT NULL,
  PRIMARY KEY (user_key, method, request_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_by_expiry ON idempotency (expires_ms);

-- Events, written with the change they tell of. user_key is empty for events of global data.
CREATE TABLE outbox (
  -- AUTOINCREMENT: an id is never used again, so a reader's position stays true
  id          INTEGER PRIMARY KEY AUTOINCREMENT,
  stream      TEXT    NOT NULL,
  user_key    BLOB    NOT NULL,
  user_epoch  INTEGER NOT NULL,
  -- 1, 2, 3… within stream, user and epoch
  sequence    INTEGER NOT NULL,
  event_id    TEXT    NOT NULL,
  kind        TEXT    NOT NULL,
  payload     BLOB    NOT NULL,
  -- W3C trace context of the transaction that emitted it
  traceparent TEXT,
  created_ms  INTEGER NOT NULL,
  -- importing: its user is not home yet; handed: its user moved away and the new home delivers it
  state       TEXT    NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'done', 'importing', 'handed')),
  done_ms     INTEGER
) STRICT;
CREATE UNIQUE INDEX outbox_by_user ON outbox (user_key, stream, user_epoch, sequence);
-- Only what waits is indexed: most rows are done.
CREATE INDEX outbox_pending ON outbox (stream, id) WHERE state = 'pending';
CREATE INDEX outbox_done ON outbox (stream, done_ms) WHERE state = 'done';
";

const SECOND: &str = "
-- How often a user's data was written, in all its homes together: what a consistency token says (OWN-15). It moves with him.
CREATE TABLE user_position (
  user_key BLOB    PRIMARY KEY,
  position INTEGER NOT NULL CHECK (position > 0)
) STRICT, WITHOUT ROWID;
";
