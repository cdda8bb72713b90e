//! Reading campaigns.

use super::{
    Result,
    row::{self, COLUMNS, json},
};
use shop_logic::{Campaign, CampaignId, Sku};
use sqlx::{AssertSqlSafe, SqliteConnection, sqlite::SqliteRow};
use std::collections::HashMap;

/// Those of the given campaigns that exist, by id.
///
/// # Errors
/// With a failure of the database.
pub async fn find(conn: &mut SqliteConnection, ids: &[CampaignId]) -> Result<HashMap<CampaignId, Campaign>> {
    let sql = format!("SELECT {COLUMNS} FROM campaign_campaign WHERE campaign_id IN (SELECT value FROM json_each(?))");
    let ids = json(ids.iter().map(CampaignId::as_str));
    let rows = sqlx::query(AssertSqlSafe(sql)).bind(ids).fetch_all(conn).await?;
    Ok(campaigns(&rows)?.into_iter().map(|campaign| (campaign.terms.id.clone(), campaign)).collect())
}

/// Campaigns by id, those after `after` (empty: from the first); with `at_ms` only those in force at that time.
///
/// # Errors
/// With a failure of the database.
pub async fn list(conn: &mut SqliteConnection, after: &str, at_ms: Option<i64>, limit: i64) -> Result<Vec<Campaign>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM campaign_campaign
         WHERE campaign_id > ?1 AND (?2 IS NULL OR (paused = 0 AND start_ms <= ?2 AND end_ms > ?2))
         ORDER BY campaign_id LIMIT ?3"
    );
    let rows = sqlx::query(AssertSqlSafe(sql)).bind(after).bind(at_ms).bind(limit).fetch_all(conn).await?;
    campaigns(&rows)
}

/// Discounts of a product that are in force at a time, by id.
///
/// # Errors
/// With a failure of the database.
pub async fn of_product(conn: &mut SqliteConnection, sku: &Sku, at_ms: i64, limit: i64) -> Result<Vec<Campaign>> {
    let query = sqlx::query(AssertSqlSafe(of_product_sql())).bind(sku.as_str()).bind(at_ms).bind(limit);
    campaigns(&query.fetch_all(conn).await?)
}

/// What is over is not looked at: its end is in the index.
fn of_product_sql() -> String {
    format!(
        "SELECT {COLUMNS} FROM campaign_campaign
         WHERE campaign_id IN (SELECT campaign_id FROM campaign_product WHERE sku = ?1 AND end_ms > ?2)
           AND paused = 0 AND start_ms <= ?2
         ORDER BY campaign_id LIMIT ?3"
    )
}

/// Campaigns whose last change came after a sequence, in the order of their changes.
///
/// # Errors
/// With a failure of the database.
pub async fn after(conn: &mut SqliteConnection, sequence: u64, limit: i64) -> Result<Vec<Campaign>> {
    let sql = format!("SELECT {COLUMNS} FROM campaign_campaign WHERE version > ? ORDER BY version LIMIT ?");
    let sequence = i64::try_from(sequence).unwrap_or(i64::MAX);
    campaigns(&sqlx::query(AssertSqlSafe(sql)).bind(sequence).bind(limit).fetch_all(conn).await?)
}

fn campaigns(rows: &[SqliteRow]) -> Result<Vec<Campaign>> {
    rows.iter().map(row::read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sqlx::{Connection as _, Row as _};

    #[tokio::test]
    async fn campaigns_of_a_product_are_found_by_indexes() {
        let mut conn = SqliteConnection::connect("sqlite::memory:").await.expect("a database in memory");
        sqlx::raw_sql(super::super::MIGRATIONS[0].sql).execute(&mut conn).await.expect("migrated");
        let sql = format!("EXPLAIN QUERY PLAN {}", of_product_sql());
        let query = sqlx::query(AssertSqlSafe(sql)).bind("tea").bind(5).bind(100);
        let plan: Vec<String> =
            query.fetch_all(&mut conn).await.expect("explained").iter().map(|row| row.get("detail")).collect();
        let plan = plan.join("\n");
        assert!(plan.contains("SEARCH campaign_campaign USING PRIMARY KEY (campaign_id=?)"), "{plan}");
        assert!(plan.contains("SEARCH campaign_product USING PRIMARY KEY (sku=? AND end_ms>?)"), "{plan}");
        assert!(!plan.contains("SCAN campaign"), "{plan}");
    }
}
