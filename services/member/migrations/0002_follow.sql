-- Whom users follow. An edge that is gone keeps its row for a while, so that a watcher who knew it can be told.
CREATE TABLE follow_edge (
  user_key  BLOB    NOT NULL,                   -- who follows
  target_id TEXT    NOT NULL,                   -- whom
  following INTEGER NOT NULL CHECK (following IN (0, 1)),
  position  INTEGER NOT NULL,                   -- the user's position at its last change (OWN-15)
  PRIMARY KEY (user_key, target_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX follow_edge_by_change ON follow_edge (user_key, position, target_id, following);
CREATE INDEX follow_edge_gone ON follow_edge (user_key, position) WHERE following = 0;

-- One row for each user who ever followed.
CREATE TABLE follow_summary (
  user_key  BLOB    NOT NULL PRIMARY KEY,
  following INTEGER NOT NULL CHECK (following >= 0),  -- edges
  gone      INTEGER NOT NULL CHECK (gone >= 0),       -- rows of edges that are gone
  floor     INTEGER NOT NULL                          -- rows of edges that went up to this position may be missing
) STRICT, WITHOUT ROWID;
