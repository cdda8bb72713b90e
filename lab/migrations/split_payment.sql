-- Wallets and payments without orders: row 2.3 of the guide, the split way. Amounts are fen.
CREATE TABLE split_wallet (
  user_key      BLOB    NOT NULL PRIMARY KEY,
  balance_minor INTEGER NOT NULL CHECK (balance_minor >= 0)
) STRICT, WITHOUT ROWID;

CREATE TABLE split_posting (
  user_key       BLOB    NOT NULL,
  entry_id       TEXT    NOT NULL,
  account        TEXT    NOT NULL,
  amount_minor   INTEGER NOT NULL CHECK (amount_minor <> 0),
  kind           TEXT    NOT NULL,
  create_time_ms INTEGER NOT NULL,
  PRIMARY KEY (user_key, entry_id, account)
) STRICT, WITHOUT ROWID;

CREATE TABLE split_payment (
  user_key       BLOB    NOT NULL,
  order_id       TEXT    NOT NULL,
  payment_id     TEXT    NOT NULL,
  amount_minor   INTEGER NOT NULL CHECK (amount_minor > 0),
  create_time_ms INTEGER NOT NULL,
  PRIMARY KEY (user_key, order_id)
) STRICT, WITHOUT ROWID;
