-- Campaigns: written in the global cell, copied to every other one. The table is its own change log: `version` is the
-- sequence of the campaign's last change. Campaigns are never deleted; one that is not to count is paused, or over.
CREATE TABLE campaign_campaign (
  campaign_id      TEXT    NOT NULL PRIMARY KEY,
  title            TEXT    NOT NULL,
  start_ms         INTEGER NOT NULL,                               -- since the Unix epoch
  end_ms           INTEGER NOT NULL CHECK (end_ms > start_ms),
  paused           INTEGER NOT NULL CHECK (paused IN (0, 1)),
  version          INTEGER NOT NULL,                               -- campaigns' version at its last change
  kind             TEXT    NOT NULL CHECK (kind IN ('product', 'spend', 'coupon')),
  skus             TEXT,                                           -- product: JSON list
  basis_points_off INTEGER,                                        -- product, coupon: of 10,000
  currency         TEXT,                                           -- spend, coupon: ISO 4217
  threshold_minor  INTEGER,                                        -- spend, coupon: minor units
  amount_off_minor INTEGER,                                        -- spend, coupon: minor units
  code             TEXT,                                           -- coupon
  per_user_limit   INTEGER                                         -- coupon: orders
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX campaign_campaign_version ON campaign_campaign (version);
CREATE UNIQUE INDEX campaign_campaign_code ON campaign_campaign (code) WHERE code IS NOT NULL;

-- Which campaigns touch a product: follows from campaign_campaign. By the end, so that those that are over are not looked at.
CREATE TABLE campaign_product (
  sku         TEXT    NOT NULL,
  end_ms      INTEGER NOT NULL,
  campaign_id TEXT    NOT NULL,
  PRIMARY KEY (sku, end_ms, campaign_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX campaign_product_campaign ON campaign_product (campaign_id);

-- Where this copy stands. No row: nothing was written or received yet, so nothing is served either.
CREATE TABLE campaign_position (
  id          INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
  incarnation INTEGER NOT NULL,   -- the writer's history; a higher one replaces everything
  sequence    INTEGER NOT NULL,   -- last change in it
  writer      INTEGER NOT NULL    -- 1 where this cell wrote it, 0 where it is a copy
) STRICT;
