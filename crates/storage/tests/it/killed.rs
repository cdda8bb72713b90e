//! kill -9 while many write at once: what was acknowledged is there, and nothing is half there.

use crate::sqlite::Files;
use rand::RngExt as _;
use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};
use storage::{
    Class, Db, DbConfig, IdempotencyKey, OutboxEvent, TxError,
    conformance::{Work, add, here, idempotency::Receipt, items, key_of, map, migrations, number, plain, seeded, soak},
};

/// The folder of the database, for the child alone.
const FOLDER: &str = "CELLMESH_TEST_KILLED";
const WRITERS: i64 = 24;

async fn open(folder: &Path) -> Db {
    let db = Db::open(DbConfig::new(folder.join("cell.db"), here()), &migrations::<Files>()).await.expect("open");
    db.bootstrap_ownership(&map(), &here()).await.expect("bootstrap");
    db
}

/// Writes until it is killed, and says what it was told to stand.
#[tokio::test(flavor = "multi_thread")]
async fn child_that_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let db = open(Path::new(&folder)).await;
    let first = number(&db, "SELECT COALESCE(MAX(item), 0) FROM suite_account").await + 1;
    let writers = (0..WRITERS).map(|writer| {
        let db = db.clone();
        tokio::spawn(async move {
            let user = key_of(&here(), usize::try_from(writer % 4).expect("small"));
            for item in (first + writer..).step_by(usize::try_from(WRITERS).expect("small")) {
                let key = IdempotencyKey::new("/suite.v1.Suite/Add", &format!("r{item}"), b"b").expect("a short id");
                let (request, owned) = (plain(&user), user.clone());
                let write = db.idempotent(&request, key, move |tx| {
                    Box::pin(async move {
                        add(tx, owned.clone(), item, 1).await?;
                        tx.emit(OutboxEvent::new("suite.event", b"x")).await?;
                        add(tx, owned, -1, 1).await?;
                        Work::Ok(Receipt { serial: item })
                    })
                });
                match write.await {
                    Ok(_) => {}
                    // A slow machine.
                    Err(TxError::Storage(error)) if error.class() == Class::Retry => continue,
                    Err(error) => panic!("{error}"),
                }
                let mut out = std::io::stdout().lock();
                writeln!(out, "stands {item}").and_then(|()| out.flush()).expect("the parent listens");
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.expect("it never ends");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_kill_9_whole() {
    let place = tempfile::tempdir().expect("a folder");
    let rounds = if soak() { 300 } else { 6 };
    let mut rng = seeded("what_was_acknowledged_survives_kill_9_whole");
    let mut acknowledged = Vec::new();
    for _ in 0..rounds {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "killed::child_that_is_killed", "--nocapture"])
            .env(FOLDER, place.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a child");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let stands = |line: std::io::Result<String>| line.ok()?.strip_prefix("stands ")?.parse::<i64>().ok();
        // Once it is at work.
        acknowledged.push(lines.by_ref().find_map(stands).expect("it writes"));
        let pause = Duration::from_micros(rng.random_range(0..60_000));
        let killer = tokio::task::spawn_blocking(move || {
            std::thread::sleep(pause);
            child.kill().and_then(|()| child.wait()).expect("killed")
        });
        acknowledged.extend(lines.filter_map(stands));
        killer.await.expect("no panic");

        let db = open(place.path()).await;
        let mut all = Vec::new();
        for n in 0..4 {
            let user = key_of(&here(), n);
            let mut found = items(&db, &user).await;
            let total = found.iter().find(|(item, _)| *item == -1).map_or(0, |(_, amount)| *amount);
            found.retain(|(item, _)| *item > 0);
            assert!(found.iter().all(|(_, amount)| *amount == 1), "nothing took effect twice");
            assert_eq!(total, i64::try_from(found.len()).expect("small"), "both halves or none");
            all.extend(found.into_iter().map(|(item, _)| item));
        }
        for item in &acknowledged {
            assert!(all.contains(item), "{item} was acknowledged and is lost");
        }
        let count = i64::try_from(all.len()).expect("small");
        for counted in [
            "SELECT COUNT(*) FROM outbox",
            "SELECT SUM(last) FROM (SELECT MAX(sequence) AS last FROM outbox GROUP BY user_key, user_epoch)",
            "SELECT COUNT(*) FROM idempotency",
            "SELECT SUM(position) FROM user_position",
        ] {
            assert_eq!(number(&db, counted).await, count, "{counted}");
        }
        db.close().await;
    }
    println!("figure: killed N={rounds} acknowledged={}", acknowledged.len());
}
