//! Transactions: all or nothing, once begun not cancelled, bounded in time.

use super::{Factory, SuiteError, Work, add, another, database, items, key_of, number, plain, put, settings};
use crate::{
    BoxFuture, Class, Db, Engine, Mode, Refusal, StorageError, Tx, TxError, TxKind, TxObserver, TxOutcome, WorkError,
    conformance::{here, migrations, there},
};
use cell_map::UserKey;
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    sync::{Notify, oneshot},
    time::{sleep, timeout},
};

/// What is longer than anything the suite waits for in earnest.
const LONG: Duration = Duration::from_secs(20);

/// Work that writes and then ends as told.
fn write_then<E: Engine>(
    key: &UserKey,
    end: impl FnOnce() -> Work<()> + Send + 'static,
) -> impl for<'t> FnOnce(&'t mut Tx<E>) -> BoxFuture<'t, Work<()>> + Send + 'static {
    let key = key.clone();
    move |tx| {
        Box::pin(async move {
            add(tx, key, 1, 1).await?;
            end()
        })
    }
}

/// An error or a panic rolls back and is reported as what it was; the next transaction finds a clean connection.
pub async fn errors_and_panics_roll_back<F: Factory>(factory: &F) {
    let (_place, db) = database(factory).await;
    let key = key_of(&here(), 0);
    let ended = db.fenced(&plain(&key), write_then(&key, || Err(WorkError::Business(SuiteError)))).await;
    assert!(matches!(ended, Err(TxError::Business(SuiteError))), "{ended:?}");
    let ended = db.fenced(&plain(&key), write_then(&key, || panic!("on purpose"))).await;
    assert!(matches!(&ended, Err(TxError::Storage(StorageError::Panicked(text))) if text == "on purpose"), "{ended:?}");
    let request = plain(&key);
    let ended = db
        .fenced(&request, |tx| {
            Box::pin(async move {
                tx.execute("INSERT INTO suite_shared (id, value) VALUES (1, 1)", vec![]).await?;
                tx.execute("INSERT INTO suite_shared (id, value) VALUES (1, 2)", vec![]).await?;
                Ok::<_, WorkError<SuiteError>>(())
            })
        })
        .await;
    assert!(matches!(&ended, Err(TxError::Storage(error)) if error.is_unique_violation()), "{ended:?}");
    assert_eq!(items(&db, &key).await, [], "nothing was committed");
    assert_eq!(number(&db, "SELECT COUNT(*) FROM suite_shared").await, 0);
    put(&db, &key, 1, 5).await.expect("the connection is clean");
    assert_eq!(items(&db, &key).await, [(1, 5)]);
}

/// A transaction has a time limit of its own, however patient its caller.
pub async fn work_that_hangs_is_rolled_back_in_time<F: Factory>(factory: &F) {
    let (place, first) = database(factory).await;
    first.close().await;
    let limit = Duration::from_millis(100);
    let config = crate::Settings { time_limit: limit, ..settings() };
    let db = factory.open(&place, config, &migrations::<F>()).await.expect("open");
    let key = key_of(&here(), 0);
    let owned = key.clone();
    let request = plain(&key);
    let ended = db.fenced(&request, move |tx| {
        Box::pin(async move {
            add(tx, owned, 1, 1).await?;
            std::future::pending::<Work<()>>().await
        })
    });
    let ended = timeout(LONG, ended).await.expect("the limit holds");
    let Err(TxError::Storage(error)) = ended else { panic!("{ended:?}") };
    assert!(matches!(error, StorageError::TimeLimit { limit_ms: 100 }), "{error:?}");
    assert_eq!(error.class(), Class::Retry);
    let writer = timeout(LONG, db.engine().acquire(Mode::Write)).await.expect("the writer is free again");
    drop(writer.expect("a connection"));
    // With a limit that a slow machine keeps.
    let db = another(factory, &place).await;
    put(&db, &key, 2, 1).await.expect("no lock is held");
    assert_eq!(items(&db, &key).await, [(2, 1)]);
}

/// Once begun, a transaction ends even if nobody waits for it any more.
pub async fn a_commit_survives_its_caller<F: Factory>(factory: &F) {
    let (_place, db) = database(factory).await;
    let key = key_of(&here(), 0);
    let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let call = {
        let (db, key, begun, go) = (db.clone(), key.clone(), Arc::clone(&begun), Arc::clone(&go));
        tokio::spawn(async move {
            let owned = key.clone();
            db.fenced(&plain(&key), move |tx| {
                Box::pin(async move {
                    begun.notify_one();
                    go.notified().await;
                    add(tx, owned, 1, 1).await
                })
            })
            .await
        })
    };
    begun.notified().await;
    call.abort();
    assert!(call.await.expect_err("aborted").is_cancelled());
    go.notify_one();
    // The next writer waits for it.
    put(&db, &key, 2, 1).await.expect("a plain write");
    assert_eq!(items(&db, &key).await, [(1, 1), (2, 1)]);
}

/// A caller that leaves before its transaction began leaves nothing behind.
pub async fn a_caller_that_left_the_queue_changes_nothing<F: Factory>(factory: &F) {
    let (_place, db) = database(factory).await;
    let key = key_of(&here(), 0);
    let gate = Held::begin(&db).await;
    let waiting = put(&db, &key, 1, 1);
    // An engine whose writers do not queue behind each other lets it through at once.
    let left = timeout(Duration::from_millis(50), waiting).await.is_err();
    gate.release().await;
    put(&db, &key, 2, 1).await.expect("a plain write");
    let expected = if left { vec![(2, 1)] } else { vec![(1, 1), (2, 1)] };
    assert_eq!(items(&db, &key).await, expected);
}

/// A write transaction that stays open until released.
pub(super) struct Held {
    go: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<Result<(), TxError<SuiteError>>>,
}

impl Held {
    /// Begins one that has written to `suite_shared`.
    pub(super) async fn begin<E: Engine>(db: &Db<E>) -> Self {
        let (go, wait) = oneshot::channel();
        let (begun, has_begun) = oneshot::channel();
        let db = db.clone();
        let task = tokio::spawn(async move {
            db.global(move |tx| {
                Box::pin(async move {
                    tx.execute("INSERT INTO suite_shared (id, value) VALUES (77, 0)", vec![]).await?;
                    let _ = begun.send(());
                    let _ = wait.await;
                    Ok(())
                })
            })
            .await
        });
        has_begun.await.expect("it begins");
        Self { go, task }
    }

    /// Lets it commit.
    pub(super) async fn release(self) {
        let _ = self.go.send(());
        self.task.await.expect("not aborted").expect("it commits");
    }
}

/// All reads of one transaction see the state of its first.
pub async fn a_read_sees_one_snapshot<F: Factory>(factory: &F) {
    let (_place, db) = database(factory).await;
    let key = key_of(&here(), 0);
    put(&db, &key, 1, 1).await.expect("a plain write");
    let writer = db.clone();
    let owned = key.clone();
    let request = plain(&key);
    let seen = db
        .fenced_read(&request, move |tx| {
            Box::pin(async move {
                put(&writer, &owned, 1, 41).await.map_err(|_| WorkError::Business(SuiteError))?;
                let sql = "SELECT amount FROM suite_account WHERE user_key = ?";
                let mut rows = tx.query(sql, vec![owned.as_bytes().into()]).await?;
                Ok(rows.remove(0).integer()?)
            })
        })
        .await;
    assert!(matches!(seen, Ok::<_, TxError<SuiteError>>(1)), "a write came between fence and data: {seen:?}");
    assert_eq!(items(&db, &key).await, [(1, 42)]);
}

/// A read transaction can write nothing.
pub async fn a_read_cannot_write<F: Factory>(factory: &F) {
    let (_place, db) = database(factory).await;
    let key = key_of(&here(), 0);
    let owned = key.clone();
    let ended = db.fenced_read(&plain(&key), move |tx| add(tx, owned, 1, 1)).await;
    assert!(matches!(ended, Err(TxError::Storage(_))), "{ended:?}");
    let event = crate::OutboxEvent::new("suite.event", b"x");
    let request = plain(&key);
    let ended = db.fenced_read(&request, move |tx| {
        Box::pin(async move { Ok::<_, WorkError<SuiteError>>(tx.emit(event).await?) })
    });
    let ended = ended.await;
    assert!(matches!(ended, Err(TxError::Storage(StorageError::ReadOnly(_)))), "{ended:?}");
    assert_eq!(items(&db, &key).await, []);
}

/// A writer at work holds up no reader.
pub async fn readers_do_not_wait_for_a_writer<F: Factory>(factory: &F) {
    let (_place, db) = database(factory).await;
    let key = key_of(&here(), 0);
    put(&db, &key, 1, 1).await.expect("a plain write");
    let held = Held::begin(&db).await;
    let read = timeout(LONG, items(&db, &key)).await;
    held.release().await;
    assert_eq!(read.expect("no waiting"), [(1, 1)]);
}

/// Writers of one process are served in order of arrival, and none loses an update.
pub async fn writers_take_turns<F: Factory>(factory: &F) {
    let (_place, db) = database(factory).await;
    let key = key_of(&here(), 0);
    let calls = (0..64).map(|_| {
        let (db, key) = (db.clone(), key.clone());
        tokio::spawn(async move { put(&db, &key, 1, 1).await })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.expect("no panic").expect("no contention within a process");
    }
    assert_eq!(items(&db, &key).await, [(1, 64)]);
}

/// What was acknowledged is there after the database is opened again, with or without having been closed.
pub async fn acknowledged_writes_survive_a_reopening<F: Factory>(factory: &F) {
    let (place, db) = database(factory).await;
    let key = key_of(&here(), 0);
    put(&db, &key, 1, 1).await.expect("a plain write");
    drop(db);
    let db = another(factory, &place).await;
    assert_eq!(items(&db, &key).await, [(1, 1)]);
    put(&db, &key, 2, 2).await.expect("a plain write");
    db.close().await;
    let db = another(factory, &place).await;
    assert_eq!(items(&db, &key).await, [(1, 1), (2, 2)]);
}

/// Work that overlooks a failed statement must not end half committed: either all of it stands or nothing.
pub async fn nothing_commits_by_itself_after_a_failure<F: Factory>(factory: &F) {
    let (_place, db) = database(factory).await;
    let ended = db
        .global(|tx| {
            Box::pin(async move {
                let insert = "INSERT INTO suite_shared (id, value) VALUES (?, 0)";
                tx.execute(insert, vec![1.into()]).await?;
                // Overlooked; some engines now refuse everything, some only this statement.
                let _ = tx.execute(insert, vec![1.into()]).await;
                let _ = tx.execute(insert, vec![2.into()]).await;
                Ok::<_, WorkError<SuiteError>>(())
            })
        })
        .await;
    let rows = number(&db, "SELECT COUNT(*) FROM suite_shared").await;
    assert_eq!(rows, if ended.is_ok() { 2 } else { 0 }, "{ended:?}");
}

#[derive(Default)]
struct Heard(Mutex<Vec<(TxKind, &'static str)>>);

impl TxObserver for Heard {
    fn finished(&self, kind: TxKind, outcome: TxOutcome<'_>) {
        self.0.lock().expect("no panic inside").push((kind, outcome.as_str()));
    }
}

/// Each transaction is reported exactly once, those that nobody waits for included.
pub async fn the_observer_hears_of_each_transaction_once<F: Factory>(factory: &F) {
    let (place, first) = database(factory).await;
    first.close().await;
    let heard = Arc::new(Heard::default());
    let config = crate::Settings { observer: Some(Arc::clone(&heard) as Arc<dyn TxObserver>), ..settings() };
    let db = factory.open(&place, config, &migrations::<F>()).await.expect("open");
    heard.0.lock().expect("no panic inside").clear();
    let (ours, theirs) = (key_of(&here(), 0), key_of(&there(), 0));

    put(&db, &ours, 1, 1).await.expect("home");
    let refused = put(&db, &theirs, 1, 1).await;
    assert!(matches!(refused, Err(TxError::Refused(Refusal::WrongCell { .. }))), "{refused:?}");
    let failed = db.fenced(&plain(&ours), write_then(&ours, || Err(WorkError::Business(SuiteError)))).await;
    assert!(matches!(failed, Err(TxError::Business(_))));
    let request = plain(&ours);
    let hanging = db.fenced_read(&request, |_| Box::pin(std::future::pending::<Work<()>>()));
    assert!(timeout(Duration::from_millis(50), hanging).await.is_err());
    assert_eq!(items(&db, &ours).await, [(1, 1)]);

    let heard = heard.0.lock().expect("no panic inside").clone();
    let expected = [
        (TxKind::Fenced, "committed"),
        (TxKind::Fenced, "refused"),
        (TxKind::Fenced, "rolled_back"),
        (TxKind::FencedRead, "caller_gone"),
        (TxKind::GlobalRead, "committed"),
    ];
    assert_eq!(heard, expected);
}

/// After `close` nothing runs, and what ran before is whole.
pub async fn a_closed_database_refuses<F: Factory>(factory: &F) {
    let (place, db) = database(factory).await;
    let key = key_of(&here(), 0);
    let held = Held::begin(&db).await;
    let closing = tokio::spawn({
        let db = db.clone();
        async move { db.close().await }
    });
    sleep(Duration::from_millis(20)).await;
    assert!(!closing.is_finished(), "close waits for the transaction at work");
    held.release().await;
    timeout(LONG, closing).await.expect("it ends").expect("no panic");
    let ended = put(&db, &key, 1, 1).await;
    assert!(matches!(ended, Err(TxError::Storage(_))), "{ended:?}");
    let db = another(factory, &place).await;
    assert_eq!(number(&db, "SELECT COUNT(*) FROM suite_shared WHERE id = 77").await, 1);
}
