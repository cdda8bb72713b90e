-- The position is kept by storage, which knows writers too; trade only follows.
ALTER TABLE trade_catalog_position ADD COLUMN writer INTEGER NOT NULL DEFAULT 0;
