-- Members. One row for each user registered here or moved here.
CREATE TABLE member_profile (
  user_key       BLOB    NOT NULL PRIMARY KEY,  -- canonical key bytes (OWN-1)
  display_name   TEXT    NOT NULL,              -- may be empty
  create_time_ms INTEGER NOT NULL               -- since the Unix epoch
) STRICT, WITHOUT ROWID;

-- What members did lately, told by events of other services. Newest first is the key backwards: events of a user are
-- ordered by (user_epoch, sequence) of their writer (OWN-13), not by clocks.
CREATE TABLE member_activity (
  user_key      BLOB    NOT NULL,
  user_epoch    INTEGER NOT NULL,               -- the owner's epoch when it happened
  sequence      INTEGER NOT NULL,               -- among the user's events of that writer
  event_id      TEXT    NOT NULL,               -- tells writers with equal sequences apart
  kind          TEXT    NOT NULL,               -- like order.placed
  subject       TEXT    NOT NULL,               -- like an order's id
  event_time_ms INTEGER NOT NULL,
  PRIMARY KEY (user_key, user_epoch, sequence, event_id)
) STRICT, WITHOUT ROWID;

-- Events applied, written in the transaction of their effect: a repeated delivery changes nothing.
CREATE TABLE member_inbox (
  user_key BLOB NOT NULL,
  consumer TEXT NOT NULL,                       -- which effect; only "activity" so far
  event_id TEXT NOT NULL,
  PRIMARY KEY (user_key, consumer, event_id)
) STRICT, WITHOUT ROWID;
