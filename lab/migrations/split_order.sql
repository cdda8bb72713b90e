-- Orders without money: row 2.3 of the guide, the split way. Amounts are fen.
CREATE TABLE split_product (
  sku              TEXT    NOT NULL PRIMARY KEY,
  unit_price_minor INTEGER NOT NULL CHECK (unit_price_minor > 0),
  allotted         INTEGER NOT NULL,
  sold             INTEGER NOT NULL DEFAULT 0 CHECK (sold BETWEEN 0 AND allotted)
) STRICT, WITHOUT ROWID;

-- The lab's products; how many is told beside where they are made in the catalogue, too.
WITH RECURSIVE numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < 39)
INSERT INTO split_product (sku, unit_price_minor, allotted) SELECT 'lab-' || n, 100, 100000000 FROM numbers;

CREATE TABLE split_order (
  user_key       BLOB    NOT NULL,
  order_id       TEXT    NOT NULL,
  state          TEXT    NOT NULL CHECK (state IN ('reserved', 'paid', 'cancelled')),
  total_minor    INTEGER NOT NULL CHECK (total_minor > 0),
  payment_id     TEXT    NOT NULL,                              -- empty: not paid
  create_time_ms INTEGER NOT NULL,
  PRIMARY KEY (user_key, order_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE split_order_line (
  user_key         BLOB    NOT NULL,
  order_id         TEXT    NOT NULL,
  line             INTEGER NOT NULL,
  sku              TEXT    NOT NULL,
  quantity         INTEGER NOT NULL,
  unit_price_minor INTEGER NOT NULL,
  total_minor      INTEGER NOT NULL,
  PRIMARY KEY (user_key, order_id, line)
) STRICT, WITHOUT ROWID;
