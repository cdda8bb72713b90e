//! Migrations, and whose database it is.

use super::{Factory, another, migrations, number, settings, there};
use crate::{Migration, Settings, StorageError};

const TABLE: Migration =
    Migration { module: "extra", version: 1, name: "a table", sql: "CREATE TABLE extra_one (id BIGINT PRIMARY KEY)" };

/// A migration runs once, whoever opens the database and whatever other modules bring.
pub async fn migrations_are_applied_once<F: Factory>(factory: &F) {
    let place = factory.create().await;
    let db = factory.open(&place, settings(), &[TABLE]).await.expect("open");
    db.close().await;
    let mut all = migrations::<F>();
    all.push(TABLE);
    all.push(Migration { version: 2, name: "a row", sql: "INSERT INTO extra_one (id) VALUES (1)", ..TABLE });
    for _ in 0..2 {
        let db = factory.open(&place, settings(), &all).await.expect("open");
        assert_eq!(number(&db, "SELECT COUNT(*) FROM extra_one").await, 1);
        db.close().await;
    }
    let older = factory.open(&place, settings(), &[TABLE]).await.expect("an older process runs on a newer schema");
    assert_eq!(number(&older, "SELECT COUNT(*) FROM schema_migration WHERE module = 'extra'").await, 2);
}

/// A migration whose text changed after it was applied is refused by name.
pub async fn an_edited_migration_is_refused<F: Factory>(factory: &F) {
    let place = factory.create().await;
    drop(factory.open(&place, settings(), &[TABLE]).await.expect("open"));
    let edited = Migration { sql: "CREATE TABLE extra_one (id BIGINT PRIMARY KEY, more BIGINT)", ..TABLE };
    let ended = factory.open(&place, settings(), &[edited]).await.map(|_| ());
    assert!(
        matches!(&ended, Err(StorageError::EditedMigration { module, version: 1, .. }) if module == "extra"),
        "{ended:?}"
    );
}

/// A migration that fails takes those before it back.
pub async fn a_failed_migration_leaves_nothing<F: Factory>(factory: &F) {
    let place = factory.create().await;
    let bad = Migration { version: 2, name: "not SQL", sql: "CREATE TABEL oops", ..TABLE };
    let ended = factory.open(&place, settings(), &[TABLE, bad]).await.map(|_| ());
    assert!(matches!(ended, Err(StorageError::Database(_))), "{ended:?}");
    let db = factory.open(&place, settings(), &[TABLE]).await.expect("nothing is in the way");
    assert_eq!(number(&db, "SELECT COUNT(*) FROM schema_migration WHERE module = 'extra'").await, 1);
}

/// Versions count 1, 2, 3…
pub async fn gaps_are_refused<F: Factory>(factory: &F) {
    let place = factory.create().await;
    let ended = factory.open(&place, settings(), &[TABLE, Migration { version: 3, ..TABLE }]).await.map(|_| ());
    assert!(matches!(ended, Err(StorageError::MigrationOrder { version: 3, expected: 2, .. })), "{ended:?}");
}

/// Two processes that start at once on a new database both come up, and migrate it once.
pub async fn two_processes_migrate_once<F: Factory>(factory: &F) {
    let place = factory.create().await;
    let (one, two) = tokio::join!(another(factory, &place), another(factory, &place));
    assert_eq!(number(&one, "SELECT COUNT(*) FROM schema_migration WHERE module = 'suite'").await, 1);
    assert_eq!(number(&two, "SELECT COUNT(*) FROM cell_identity").await, 1);
}

/// A database bears its cell's name and serves no other.
pub async fn another_cells_database_is_refused<F: Factory>(factory: &F) {
    let place = factory.create().await;
    drop(another(factory, &place).await);
    let ended = factory.open(&place, Settings::new(there()), &migrations::<F>()).await.map(|_| ());
    assert!(matches!(&ended, Err(StorageError::ForeignCell { found, .. }) if found == "bj-1"), "{ended:?}");
}
