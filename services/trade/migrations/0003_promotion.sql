-- The cell's campaigns as far as they count for prices, beside the products, so that one transaction prices an order.
CREATE TABLE trade_campaign (
  campaign_id     TEXT    NOT NULL PRIMARY KEY,
  start_time_ms   INTEGER NOT NULL,
  end_time_ms     INTEGER NOT NULL CHECK (end_time_ms > start_time_ms),   -- exclusive
  paused          INTEGER NOT NULL CHECK (paused IN (0, 1)),
  kind            TEXT    NOT NULL CHECK (kind IN ('product', 'spend', 'coupon')),
  basis_points    INTEGER,                                              -- product; coupon, unless amount_minor
  currency        TEXT,                                                 -- spend, coupon: ISO 4217, of both amounts
  threshold_minor INTEGER,                                              -- spend, coupon: minor units
  amount_minor    INTEGER,                                              -- spend; coupon, unless basis_points: minor units
  code            TEXT,                                                 -- coupon
  per_user_limit  INTEGER                                               -- coupon: orders of one user
) STRICT, WITHOUT ROWID;
CREATE INDEX trade_campaign_code ON trade_campaign (code, campaign_id) WHERE code IS NOT NULL;
CREATE INDEX trade_campaign_spend ON trade_campaign (end_time_ms) WHERE kind = 'spend';

-- Which products a campaign makes cheaper.
CREATE TABLE trade_campaign_sku (
  sku         TEXT NOT NULL,
  campaign_id TEXT NOT NULL,
  PRIMARY KEY (sku, campaign_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX trade_campaign_sku_campaign ON trade_campaign_sku (campaign_id);

-- How far trade_campaign follows the cell's campaigns. No row: nothing received yet.
CREATE TABLE trade_campaign_position (
  id          INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
  incarnation INTEGER NOT NULL,
  sequence    INTEGER NOT NULL,
  writer      INTEGER NOT NULL
) STRICT;

-- The coupon of an order. NULL: none.
ALTER TABLE trade_order ADD COLUMN coupon_code TEXT;

-- What campaigns took off an order, in the order's currency. Its total is the sum of its lines less these.
CREATE TABLE trade_order_discount (
  user_key     BLOB    NOT NULL,
  order_id     TEXT    NOT NULL,
  place        INTEGER NOT NULL,                                        -- position, from 0
  campaign_id  TEXT    NOT NULL,
  sku          TEXT,                                                    -- of the line; NULL: off the whole order
  amount_minor INTEGER NOT NULL CHECK (amount_minor > 0),
  PRIMARY KEY (user_key, order_id, place)
) STRICT, WITHOUT ROWID;

-- How many orders of a user each coupon served: counted up by the order's own transaction, never beyond the coupon's limit.
CREATE TABLE trade_redemption (
  user_key    BLOB    NOT NULL,
  campaign_id TEXT    NOT NULL,
  redeemed    INTEGER NOT NULL CHECK (redeemed > 0),
  position    INTEGER NOT NULL,                                         -- the user's position at its last change (OWN-15)
  PRIMARY KEY (user_key, campaign_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX trade_redemption_by_change ON trade_redemption (user_key, position, campaign_id, redeemed);
