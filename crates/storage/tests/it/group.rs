//! Transactions that share a COMMIT on SQLite: that they do, and what becomes of all when it fails.

use crate::{
    sqlite::Files,
    unknown::{Lossy, lossy},
};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use storage::{
    Class, Db, Engine, IdempotencyKey, Mode, Outcome, Settings, StorageError, TxError, TxKind, TxObserver, TxOutcome,
    WorkError,
    conformance::{
        Factory as _, SuiteError, Work, add, group::gathered, here, idempotency::Receipt, items, key_of, migrations,
        number, plain,
    },
};
use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};

const LONG: Duration = Duration::from_secs(20);

static GRINDING: AtomicBool = AtomicBool::new(true);

type Ended = Result<Outcome<Receipt>, TxError<SuiteError>>;

/// What a member does after it has added 1 to its item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    Well,
    Fail,
    /// Makes SQLite roll back by itself, and overlooks it.
    RollBack,
    /// The same, and begins anew.
    BeginAnew,
    /// Ends with the error of that.
    RollBackAndEnd,
    /// A statement that goes on until [`GRINDING`] ends.
    Grind,
}

async fn member<E: Engine<Connection = sqlx::SqliteConnection>>(db: Db<E>, item: i64, does: Does) -> Ended {
    let user = key_of(&here(), 0);
    let key = IdempotencyKey::new("/suite.v1.Suite/Add", &format!("r{item}"), b"b").expect("a short id");
    let (request, owned) = (plain(&user), user.clone());
    let call = db.idempotent(&request, key, move |tx| {
        Box::pin(async move {
            add(tx, owned, item, 1).await?;
            let broken = "INSERT OR ROLLBACK INTO suite_account SELECT * FROM suite_account";
            match does {
                Does::Well => {}
                Does::Fail => return Err(WorkError::Business(SuiteError)),
                Does::RollBack | Does::BeginAnew => {
                    assert!(sqlx::query(broken).execute(&mut *tx.conn()).await.is_err());
                    if does == Does::BeginAnew {
                        sqlx::query("BEGIN").execute(&mut *tx.conn()).await?;
                        sqlx::query("SAVEPOINT cellmesh_member").execute(&mut *tx.conn()).await?;
                        tx.execute("INSERT INTO suite_shared (id, value) VALUES (1, 1)", vec![]).await?;
                        tx.execute("INSERT INTO cell_identity (id, cell) VALUES (1, 'x')", vec![]).await.ok();
                    }
                }
                Does::RollBackAndEnd => {
                    sqlx::query(broken).execute(&mut *tx.conn()).await?;
                }
                Does::Grind => {
                    let mut handle = tx.conn().lock_handle().await?;
                    handle.set_progress_handler(1, || {
                        while GRINDING.load(Ordering::SeqCst) {
                            std::thread::sleep(Duration::from_millis(1));
                        }
                        true
                    });
                    drop(handle);
                    sqlx::query("SELECT COUNT(*) FROM suite_account").execute(&mut *tx.conn()).await?;
                }
            }
            Work::Ok(Receipt { serial: item })
        })
    });
    call.await
}

/// Calls that queue up in this order behind the writer, which they get together.
async fn together<E: Engine<Connection = sqlx::SqliteConnection>>(db: &Db<E>, does: &[Does]) -> Vec<JoinHandle<Ended>> {
    let gate = db.engine().acquire(Mode::Write).await.expect("a connection");
    let mut calls = Vec::new();
    for (item, does) in (1..).zip(does) {
        calls.push(tokio::spawn(member(db.clone(), item, *does)));
        gather(db, calls.len()).await;
    }
    drop(gate);
    calls
}

/// Waits until so many have queued up.
async fn gather<E: Engine>(db: &Db<E>, many: usize) {
    let pause = || sleep(Duration::from_millis(if gathered(db).is_some() { 1 } else { 20 }));
    pause().await;
    while gathered(db).is_some_and(|now| now < many) {
        pause().await;
    }
}

async fn all(calls: Vec<JoinHandle<Ended>>) -> Vec<Ended> {
    let mut ended = Vec::new();
    for call in calls {
        ended.push(timeout(LONG, call).await.expect("answered").expect("no panic"));
    }
    ended
}

/// What does not end by itself for any reason of time.
fn patient() -> Settings {
    Settings { group_limit: LONG, ..Settings::new(here()) }
}

fn class(ended: &Ended) -> Option<Class> {
    match ended {
        Err(TxError::Storage(error)) => Some(error.class()),
        _ => None,
    }
}

/// For how many transactions each COMMIT was.
#[derive(Default)]
struct Heard(Mutex<Vec<usize>>);

impl TxObserver for Heard {
    fn finished(&self, _: TxKind, _: TxOutcome<'_>) {}

    fn committed(&self, transactions: usize) {
        self.0.lock().expect("no panic inside").push(transactions);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn those_that_wait_share_a_commit_up_to_the_most() {
    for (most, expected) in [(64, &[9][..]), (4, &[4, 3, 2]), (1, &[1; 9])] {
        let place = tempfile::tempdir().expect("a folder");
        let heard = Arc::new(Heard::default());
        let observer = Some(Arc::clone(&heard) as Arc<dyn TxObserver>);
        let (db, lose) = lossy(&place, Settings { group_size: most, observer, ..patient() }).await;
        heard.0.lock().expect("no panic inside").clear();
        let before = lose.commits.load(Ordering::SeqCst);
        let mut does = [Does::Well; 10];
        does[5] = Does::Fail;
        let ended = all(together(&db, &does).await).await;
        assert_eq!(ended.iter().filter(|ended| ended.is_ok()).count(), 9);
        assert_eq!(lose.commits.load(Ordering::SeqCst) - before, expected.len(), "at most {most} together");
        assert_eq!(*heard.0.lock().expect("no panic inside"), expected);
        assert_eq!(items(&db, &key_of(&here(), 0)).await.len(), 9);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_takes_in_no_more_when_its_time_is_over() {
    let place = tempfile::tempdir().expect("a folder");
    let (db, lose) = lossy(&place, Settings { group_limit: Duration::ZERO, ..patient() }).await;
    let before = lose.commits.load(Ordering::SeqCst);
    for ended in all(together(&db, &[Does::Well; 5]).await).await {
        ended.expect("it commits");
    }
    assert_eq!(lose.commits.load(Ordering::SeqCst) - before, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_that_wait_for_the_commit_keep_transactions_apart() {
    let place = tempfile::tempdir().expect("a folder");
    let mut all_migrations = migrations::<Files>();
    all_migrations.push(storage::Migration {
        module: "late",
        version: 1,
        name: "a check put off",
        sql: "CREATE TABLE late (id INTEGER REFERENCES suite_shared (id) DEFERRABLE INITIALLY DEFERRED)",
    });
    let db = Files.open(&place, patient(), &all_migrations).await.expect("open");
    db.bootstrap_ownership(&storage::conformance::map(), &here()).await.expect("bootstrap");
    assert_eq!(gathered(&db), None);
    let gate = db.engine().acquire(Mode::Write).await.expect("a connection");
    let user = key_of(&here(), 0);
    let calls = [1, 99, 2].map(|item| {
        let (db, user) = (db.clone(), user.clone());
        tokio::spawn(async move {
            let (request, owned) = (plain(&user), user.clone());
            let write = db.fenced(&request, move |tx| {
                Box::pin(async move {
                    if item == 99 {
                        sqlx::query("INSERT INTO late VALUES (99)").execute(tx.conn()).await?;
                    }
                    add(tx, owned, item, 1).await
                })
            });
            write.await
        })
    });
    drop(gate);
    let mut well = 0;
    for call in calls {
        well += i32::from(call.await.expect("no panic").is_ok());
    }
    assert_eq!(well, 2, "one breaks the check, and harms no other");
    assert_eq!(items(&db, &user).await, [(1, 1), (2, 1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_hears_before_the_commit_and_all_hear_if_its_answer_is_lost() {
    for lost_after_the_commit in [false, true] {
        let place = tempfile::tempdir().expect("a folder");
        let (db, lose) = lossy(&place, patient()).await;
        let user = key_of(&here(), 0);
        let gate = lose.gate.lock().await;
        let before = lose.commits.load(Ordering::SeqCst);
        let calls = together(&db, &[Does::Well, Does::Fail, Does::Well]).await;
        let mut changes = db.changes(&user);
        while lose.commits.load(Ordering::SeqCst) == before {
            sleep(Duration::from_millis(1)).await;
        }
        sleep(Duration::from_millis(50)).await;
        assert!(calls.iter().all(|call| !call.is_finished()), "not even of the error that follows from others' writes");
        assert!(!changes.has_changed());
        assert_eq!(items(&db, &user).await, []);
        let loss = if lost_after_the_commit { &lose.after } else { &lose.before };
        loss.store(true, Ordering::SeqCst);
        drop(gate);
        let ended = all(calls).await;
        let classes: Vec<_> = ended.iter().map(class).collect();
        assert_eq!(classes, [Some(Class::Unknown), Some(Class::Retry), Some(Class::Unknown)], "{ended:?}");
        assert!(changes.has_changed(), "it may stand");
        for item in [1, 3] {
            let again = member(db.clone(), item, Does::Well).await.expect("settled");
            assert_eq!(again.is_replayed(), lost_after_the_commit);
        }
        assert_eq!(items(&db, &user).await, [(1, 1), (3, 1)], "once, whichever way the answer was lost");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_commit_leaves_nothing_of_anybody() {
    for many in [1, 4] {
        let place = tempfile::tempdir().expect("a folder");
        let (db, lose) = lossy(&place, patient()).await;
        lose.refuse.store(true, Ordering::SeqCst);
        let mut changes = db.changes(&key_of(&here(), 0));
        for ended in all(together(&db, &vec![Does::Well; many]).await).await {
            let Err(TxError::Storage(error)) = ended else { panic!("{ended:?}") };
            assert_eq!((error.class(), matches!(error, StorageError::Together { .. })), (Class::Retry, many > 1));
        }
        assert!(!changes.has_changed());
        assert_eq!(items(&db, &key_of(&here(), 0)).await, []);
        assert!(!member(db.clone(), 1, Does::Well).await.expect("it is repeated").is_replayed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_by_sqlite_itself_takes_its_group_along_and_no_other() {
    for bad in [Does::RollBack, Does::BeginAnew, Does::RollBackAndEnd] {
        for at in [0_usize, 2] {
            let place = tempfile::tempdir().expect("a folder");
            let (db, _) = lossy(&place, patient()).await;
            let mut does = [Does::Well; 5];
            does[at] = bad;
            let ended = all(together(&db, &does).await).await;
            for (n, ended) in ended.iter().enumerate() {
                match n {
                    n if n == at => assert_eq!(class(ended), Some(Class::Fault), "{bad:?}: {ended:?}"),
                    n if n < at => {
                        let told = matches!(ended, Err(TxError::Storage(StorageError::Together { .. })));
                        assert!(told && class(ended) == Some(Class::Retry), "{bad:?}: {ended:?}");
                    }
                    _ => assert!(ended.is_ok(), "{bad:?} harms none that came later: {ended:?}"),
                }
            }
            let stand: Vec<_> = items(&db, &key_of(&here(), 0)).await.iter().map(|(item, _)| *item).collect();
            let expected: Vec<_> = (1..=5).filter(|item| *item > i64::try_from(at).expect("small") + 1).collect();
            assert_eq!(stand, expected, "{bad:?}: what was told to stand, and nothing else");
            assert_eq!(number(&db, "SELECT COUNT(*) FROM suite_shared").await, 0);
            assert_eq!(
                number(&db, "SELECT COUNT(*) FROM idempotency").await,
                number(&db, "SELECT position FROM user_position").await
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_does_not_answer_costs_its_group_the_turn_and_nothing_more() {
    let place = tempfile::tempdir().expect("a folder");
    let (time_limit, commit_limit) = (Duration::from_millis(200), Duration::from_secs(1));
    let limits = Settings { time_limit, commit_limit, queue_limit: LONG, ..patient() };
    let (db, _): (Db<Lossy>, _) = lossy(&place, limits).await;
    let mut calls = together(&db, &[Does::Well, Does::Well, Does::Grind, Does::Well]).await;
    let behind = calls.split_off(3);
    let ended = all(calls).await;
    assert!(ended.iter().all(|ended| class(ended) == Some(Class::Retry)), "{ended:?}");
    GRINDING.store(false, Ordering::SeqCst);
    assert!(all(behind).await[0].is_ok(), "the connection serves whoever comes next");
    assert!(matches!(ended[2], Err(TxError::Storage(StorageError::TimeLimit { .. }))), "{:?}", ended[2]);
    assert_eq!(items(&db, &key_of(&here(), 0)).await, [(4, 1)]);
    for item in 1..=2 {
        let mut again = member(db.clone(), item, Does::Well).await;
        while class(&again) == Some(Class::Retry) {
            again = member(db.clone(), item, Does::Well).await;
        }
        assert!(!again.expect("it is repeated").is_replayed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_a_group_whole() {
    let place = tempfile::tempdir().expect("a folder");
    let (db, _) = lossy(&place, patient()).await;
    let limit = |pages: &'static str| {
        let set = db.global(move |tx| {
            Box::pin(async move {
                let now: i64 = sqlx::query_scalar("PRAGMA page_count").fetch_one(&mut *tx.conn()).await?;
                let sql = format!("PRAGMA max_page_count = {}", now + pages.parse::<i64>().expect("a number"));
                sqlx::query(sqlx::AssertSqlSafe(sql)).execute(tx.conn()).await?;
                Work::Ok(())
            })
        });
        async { set.await.expect("a pragma") }
    };
    limit("30").await;
    let user = key_of(&here(), 0);
    let gate = db.engine().acquire(Mode::Write).await.expect("a connection");
    let calls: Vec<_> = (0..40)
        .map(|n| {
            let (db, user) = (db.clone(), user.clone());
            tokio::spawn(async move {
                let (request, owned) = (plain(&user), user.clone());
                let write = db.fenced(&request, move |tx| {
                    Box::pin(async move {
                        let note = "INSERT INTO suite_note (user_key, note_id, picture) VALUES (?, ?, ?)";
                        for half in ["a", "b"] {
                            let id = format!("{n}{half}");
                            tx.execute(note, vec![owned.as_bytes().into(), id.into(), vec![7_u8; 3000].into()]).await?;
                        }
                        Work::Ok(())
                    })
                });
                write.await
            })
        })
        .collect();
    gather(&db, 40).await;
    drop(gate);
    let mut stored = 0;
    for call in calls {
        match call.await.expect("no panic") {
            Ok(()) => stored += 1,
            Err(TxError::Storage(error)) => {
                assert!(matches!(error.class(), Class::Retry | Class::Exhausted), "{error:?}");
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(stored < 40, "30 pages do not hold 40 times 6 kB");
    assert_eq!(number(&db, "SELECT COUNT(*) FROM suite_note").await, 2 * stored, "what was told to stand, and no half");
    limit("1000").await;
    let fine = member(db.clone(), 1, Does::Well).await;
    fine.expect("there is space again");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_the_queue_of_a_group_lets_the_next_one_on() {
    let place = tempfile::tempdir().expect("a folder");
    let (db, _) = lossy(&place, patient()).await;
    for aborted in [vec![0], vec![1, 2], vec![0, 1, 2, 3], vec![4]] {
        let gate = db.engine().acquire(Mode::Write).await.expect("a connection");
        let calls: Vec<_> = (0..5).map(|_| tokio::spawn(add_one(db.clone()))).collect();
        gather(&db, 5).await;
        for n in &aborted {
            calls[*n].abort();
        }
        sleep(Duration::from_millis(20)).await;
        let before = number(&db, "SELECT COALESCE(SUM(amount), 0) FROM suite_account").await;
        drop(gate);
        for (n, call) in calls.into_iter().enumerate() {
            let ended = timeout(LONG, call).await.expect("answered");
            assert_eq!(ended.is_ok(), !aborted.contains(&n));
        }
        let now = number(&db, "SELECT SUM(amount) FROM suite_account").await;
        assert_eq!(now - before, 5 - i64::try_from(aborted.len()).expect("small"));
    }
}

async fn add_one(db: Db<Lossy>) {
    storage::conformance::put(&db, &key_of(&here(), 0), 1, 1).await.expect("it commits");
}
