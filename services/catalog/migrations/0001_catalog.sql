-- Products: written in the global cell, copied to every other one. The table is its own change log: `version` is the
-- sequence of the product's last change, so "everything after sequence s" is a range of one index, and a log that would
-- have to be trimmed is not needed. Products are never deleted.
CREATE TABLE catalog_product (
  sku              TEXT    NOT NULL PRIMARY KEY,
  title            TEXT    NOT NULL,
  currency         TEXT    NOT NULL,                                -- ISO 4217
  unit_price_minor INTEGER NOT NULL CHECK (unit_price_minor > 0),   -- minor units
  version          INTEGER NOT NULL                                 -- catalogue version at its last change
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX catalog_product_version ON catalog_product (version);

-- How many of a product each cell may sell in all. Fixed when the product is made.
CREATE TABLE catalog_allotment (
  sku      TEXT    NOT NULL,
  cell     TEXT    NOT NULL,
  quantity INTEGER NOT NULL CHECK (quantity >= 0),
  PRIMARY KEY (sku, cell)
) STRICT, WITHOUT ROWID;

-- Where this copy stands. No row: nothing was written or received yet, so nothing is served either.
CREATE TABLE catalog_position (
  id          INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
  incarnation INTEGER NOT NULL,   -- the writer's history; a higher one replaces everything
  sequence    INTEGER NOT NULL,   -- last change in it
  writer      INTEGER NOT NULL    -- 1 where this cell wrote it, 0 where it is a copy
) STRICT;
