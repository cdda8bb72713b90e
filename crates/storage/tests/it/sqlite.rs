//! What is SQLite's own.

use cell_map::CellId;
use std::time::{Duration, Instant};
use storage::{
    Class, Db, DbConfig, Migration, Settings, Sqlite, StorageError, TxError, WorkError,
    conformance::{Factory, SuiteError, here, key_of, migrations, put},
};
use tempfile::TempDir;

/// Databases in files of their own.
pub struct Files;

impl Factory for Files {
    type Engine = Sqlite;
    type Place = TempDir;

    const TABLES: &'static str = "
        CREATE TABLE suite_account (
          user_key BLOB NOT NULL, item INTEGER NOT NULL, amount INTEGER NOT NULL CHECK (amount >= 0),
          PRIMARY KEY (user_key, item)
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE suite_note (
          user_key BLOB NOT NULL, note_id TEXT NOT NULL, body TEXT, picture BLOB, weight REAL,
          PRIMARY KEY (user_key, note_id)
        ) STRICT;
        CREATE TABLE suite_profile (user_key BLOB PRIMARY KEY, name TEXT NOT NULL) STRICT, WITHOUT ROWID;
        CREATE TABLE suite_shared (id INTEGER PRIMARY KEY, value INTEGER NOT NULL) STRICT;";

    async fn create(&self) -> TempDir {
        tempfile::tempdir().expect("a folder")
    }

    async fn open(
        &self,
        place: &TempDir,
        settings: Settings,
        migrations: &[Migration],
    ) -> Result<Db<Sqlite>, StorageError> {
        let config = DbConfig { settings, ..config(place, here()) };
        Db::open(config, migrations).await
    }
}

fn config(place: &TempDir, cell: CellId) -> DbConfig {
    DbConfig::new(place.path().join("cell.db"), cell)
}

async fn pragma(db: &Db, sql: &'static str) -> String {
    let read = db.global_read(move |tx| {
        Box::pin(async move {
            let value: String = sqlx::query_scalar(sql).fetch_one(tx.conn()).await?;
            Ok::<_, WorkError<SuiteError>>(value)
        })
    });
    read.await.expect("a pragma")
}

#[tokio::test]
async fn commits_are_durable_and_keys_are_checked() {
    let place = tempfile::tempdir().expect("a folder");
    let db = Files.open(&place, Settings::new(here()), &migrations::<Files>()).await.expect("open");
    assert_eq!(pragma(&db, "SELECT journal_mode FROM pragma_journal_mode").await, "wal");
    let written = db.global(|tx| {
        Box::pin(async move {
            let sync: i64 = sqlx::query_scalar("PRAGMA synchronous").fetch_one(&mut *tx.conn()).await?;
            let keys: i64 = sqlx::query_scalar("PRAGMA foreign_keys").fetch_one(&mut *tx.conn()).await?;
            Ok::<_, WorkError<SuiteError>>((sync, keys))
        })
    });
    assert_eq!(written.await.expect("pragmas"), (2, 1), "synchronous=FULL, foreign_keys=ON");
}

#[tokio::test]
async fn a_lock_held_by_another_process_is_waited_for_but_not_for_ever() {
    let place = tempfile::tempdir().expect("a folder");
    let one = Files.open(&place, Settings::new(here()), &migrations::<Files>()).await.expect("open");
    let hasty = DbConfig { busy_timeout: Duration::from_millis(150), ..config(&place, here()) };
    let two = Db::open(hasty, &migrations::<Files>()).await.expect("open");
    let three = Files.open(&place, Settings::new(here()), &migrations::<Files>()).await.expect("open");
    one.bootstrap_ownership(&storage::conformance::map(), &here()).await.expect("bootstrap");
    let key = key_of(&here(), 0);
    let (go, wait) = tokio::sync::oneshot::channel::<()>();
    let (begun, has_begun) = tokio::sync::oneshot::channel::<()>();
    let holding = tokio::spawn(async move {
        one.global(|_| {
            Box::pin(async move {
                let _ = begun.send(());
                let _ = wait.await;
                Ok::<_, WorkError<SuiteError>>(())
            })
        })
        .await
    });
    has_begun.await.expect("it begins");
    let asked = Instant::now();
    let Err(TxError::Storage(error)) = put(&two, &key, 1, 1).await else { panic!("the lock is held") };
    assert!(matches!(error, StorageError::Busy(_)), "{error:?}");
    assert_eq!(error.class(), Class::Retry);
    let took = asked.elapsed();
    assert!(took >= Duration::from_millis(100) && took < Duration::from_secs(5), "{took:?}");
    let waiting = tokio::spawn({
        let key = key.clone();
        async move { put(&three, &key, 1, 1).await }
    });
    let _ = go.send(());
    holding.await.expect("no panic").expect("commits");
    waiting.await.expect("no panic").expect("it gets its turn");
    put(&two, &key, 1, 1).await.expect("a connection that was turned away still serves");
}

#[tokio::test]
async fn work_that_overlooks_an_automatic_rollback_commits_nothing() {
    let place = tempfile::tempdir().expect("a folder");
    let db = Files.open(&place, Settings::new(here()), &migrations::<Files>()).await.expect("open");
    let ended = db.global(|tx| {
        Box::pin(async move {
            let insert = "INSERT INTO suite_shared (id, value) VALUES (1, 0)";
            sqlx::query(insert).execute(&mut *tx.conn()).await?;
            // Fails and takes the whole transaction back, as a full disk would.
            let again = "INSERT OR ROLLBACK INTO suite_shared (id, value) VALUES (1, 0)";
            assert!(sqlx::query(again).execute(&mut *tx.conn()).await.is_err());
            // On its own this would now commit at once.
            let stray = "INSERT INTO suite_shared (id, value) VALUES (2, 0)";
            assert!(sqlx::query(stray).execute(&mut *tx.conn()).await.is_err(), "it must not commit by itself");
            // Nor may work commit behind the back of its transaction.
            sqlx::query("BEGIN").execute(&mut *tx.conn()).await?;
            sqlx::query("INSERT INTO suite_shared (id, value) VALUES (3, 0)").execute(&mut *tx.conn()).await?;
            assert!(sqlx::query("COMMIT").execute(&mut *tx.conn()).await.is_err());
            Ok::<_, WorkError<SuiteError>>(())
        })
    });
    let ended = ended.await;
    assert!(matches!(ended, Err(TxError::Storage(_))), "{ended:?}");
    assert_eq!(storage::conformance::number(&db, "SELECT COUNT(*) FROM suite_shared").await, 0);
}

#[tokio::test]
async fn sqlite_can_tell_what_other_processes_commit() {
    let place = tempfile::tempdir().expect("a folder");
    let db = Files.open(&place, Settings::new(here()), &migrations::<Files>()).await.expect("open");
    assert!(db.unseen().await.expect("a mark").is_some());
}

#[tokio::test]
async fn a_full_disk_refuses_writes_whole_and_reads_go_on() {
    let place = tempfile::tempdir().expect("a folder");
    let db = Files.open(&place, Settings::new(here()), &migrations::<Files>()).await.expect("open");
    // SQLite treats a limit on pages as it does a full disk.
    let limit = |pages: i64| {
        let db = db.clone();
        async move {
            let set = db.global(move |tx| {
                Box::pin(async move {
                    let now: i64 = sqlx::query_scalar("PRAGMA page_count").fetch_one(&mut *tx.conn()).await?;
                    let sql = format!("PRAGMA max_page_count = {}", now + pages);
                    sqlx::query(sqlx::AssertSqlSafe(sql)).execute(tx.conn()).await?;
                    Ok::<_, WorkError<SuiteError>>(())
                })
            });
            set.await.expect("a pragma");
        }
    };
    limit(20).await;
    let write = |n: i64| {
        db.global(move |tx| {
            Box::pin(async move {
                let note = "INSERT INTO suite_note (user_key, note_id, picture) VALUES (?, ?, ?)";
                for half in ["a", "b"] {
                    let values = vec![b"u".as_slice().into(), format!("{n}{half}").into(), vec![7_u8; 3000].into()];
                    tx.execute(note, values).await?;
                }
                Ok::<_, WorkError<SuiteError>>(())
            })
        })
    };
    let (mut stored, mut full) = (0, None);
    while full.is_none() && stored < 100 {
        match write(stored).await {
            Ok(()) => stored += 1,
            Err(TxError::Storage(error)) => full = Some(error),
            Err(error) => panic!("{error}"),
        }
    }
    let error = full.expect("20 pages do not hold 100 times 6 kB");
    assert_eq!(error.class(), Class::Exhausted, "{error:?}");
    assert!(stored > 0);
    let notes = "SELECT COUNT(*) FROM suite_note";
    assert_eq!(storage::conformance::number(&db, notes).await, 2 * stored, "reads go on, and see no half");
    limit(1000).await;
    write(stored).await.expect("there is space again");
    assert_eq!(storage::conformance::number(&db, notes).await, 2 * (stored + 1));
}
