-- What this cell may sell: the catalogue's price and this cell's allotment beside what was sold, in one row, so that one
-- conditional UPDATE takes stock and tells the price. `allotted` counts sold units too; sold units never come back by a
-- change of the catalogue.
CREATE TABLE trade_product (
  sku              TEXT    NOT NULL PRIMARY KEY,
  currency         TEXT    NOT NULL,                                    -- ISO 4217
  unit_price_minor INTEGER NOT NULL CHECK (unit_price_minor > 0),       -- minor units
  version          INTEGER NOT NULL,                                    -- catalogue version of the price
  listed           INTEGER NOT NULL,                                    -- 0: no longer in the catalogue
  allotted         INTEGER NOT NULL CHECK (allotted >= 0),              -- units this cell may sell in all
  sold             INTEGER NOT NULL DEFAULT 0 CHECK (sold >= 0),        -- units sold, cancelled ones not counted
  CHECK (sold <= allotted)                                              -- never oversold (OWN-17)
) STRICT, WITHOUT ROWID;

-- How far trade_product follows the catalogue. No row: nothing received yet.
CREATE TABLE trade_catalog_position (
  id          INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
  incarnation INTEGER NOT NULL,
  sequence    INTEGER NOT NULL
) STRICT;

-- What is in a user's wallet: the sum of his `wallet` postings, kept because a debit must be one conditional UPDATE.
CREATE TABLE trade_wallet (
  user_key      BLOB    NOT NULL,
  currency      TEXT    NOT NULL,
  balance_minor INTEGER NOT NULL CHECK (balance_minor >= 0),            -- minor units; money never goes below zero
  PRIMARY KEY (user_key, currency)
) STRICT, WITHOUT ROWID;

-- Double-entry ledger, append-only. The postings of an entry sum to zero in each currency and all carry the owner's key,
-- so they move with him (OWN-16). Shared accounts (`sales`, `external`) have no balance row: theirs are sums.
CREATE TABLE trade_posting (
  user_key       BLOB    NOT NULL,
  entry_id       TEXT    NOT NULL,                                      -- payment or top-up
  account        TEXT    NOT NULL CHECK (account IN ('wallet', 'external', 'sales')),
  currency       TEXT    NOT NULL,
  amount_minor   INTEGER NOT NULL CHECK (amount_minor <> 0),            -- minor units; positive adds to the account
  kind           TEXT    NOT NULL CHECK (kind IN ('top_up', 'order')),
  create_time_ms INTEGER NOT NULL,
  PRIMARY KEY (user_key, entry_id, account)
) STRICT, WITHOUT ROWID;

-- Orders. Ids begin with their time (UUID version 7), so the key backwards is newest first.
CREATE TABLE trade_order (
  user_key       BLOB    NOT NULL,
  order_id       TEXT    NOT NULL,
  state          TEXT    NOT NULL CHECK (state IN ('paid')),
  currency       TEXT    NOT NULL,
  total_minor    INTEGER NOT NULL CHECK (total_minor > 0),
  payment_id     TEXT    NOT NULL,
  create_time_ms INTEGER NOT NULL,
  PRIMARY KEY (user_key, order_id)
) STRICT, WITHOUT ROWID;

-- Their lines at the prices paid, in the order's currency.
CREATE TABLE trade_order_line (
  user_key         BLOB    NOT NULL,
  order_id         TEXT    NOT NULL,
  line             INTEGER NOT NULL,                                    -- position, from 0
  sku              TEXT    NOT NULL,
  quantity         INTEGER NOT NULL CHECK (quantity BETWEEN 1 AND 1000),
  unit_price_minor INTEGER NOT NULL,
  total_minor      INTEGER NOT NULL CHECK (total_minor = unit_price_minor * quantity),
  PRIMARY KEY (user_key, order_id, line)
) STRICT, WITHOUT ROWID;

-- Payments of orders, from the wallet.
CREATE TABLE trade_payment (
  user_key       BLOB    NOT NULL,
  payment_id     TEXT    NOT NULL,                                      -- also the ledger entry's id
  order_id       TEXT    NOT NULL,
  currency       TEXT    NOT NULL,
  amount_minor   INTEGER NOT NULL CHECK (amount_minor > 0),
  create_time_ms INTEGER NOT NULL,
  PRIMARY KEY (user_key, payment_id)
) STRICT, WITHOUT ROWID;
