//! Positions of users' data, and who hears of its changes (OWN-15).

use super::{
    Factory, SuiteError, Work, add, another, database, here, key_of, migrations, plain, put, seeded, settings, soak,
    steps, there,
};
use crate::{
    Class, Db, Engine, IdempotencyKey, Standing, TxError, TxKind, TxObserver, TxOutcome, WorkError,
    conformance::idempotency::Receipt,
};
use cell_map::{UserEpoch, UserKey};
use rand::RngExt as _;
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    sync::oneshot,
    time::{sleep, timeout},
};

const LONG: Duration = Duration::from_secs(10);

/// A user's position as a fenced read sees it.
async fn position<E: Engine>(db: &Db<E>, key: &UserKey) -> u64 {
    let request = plain(key);
    let read =
        db.fenced_read(&request, |tx| Box::pin(async move { Ok::<_, WorkError<SuiteError>>(tx.position().await?) }));
    read.await.expect("home")
}

/// A write that tells its own position.
async fn try_write<E: Engine>(db: &Db<E>, key: &UserKey, item: i64) -> Result<u64, TxError<SuiteError>> {
    let (request, owned) = (plain(key), key.clone());
    let written = db.fenced(&request, move |tx| {
        Box::pin(async move {
            let position = tx.position().await?;
            assert_eq!(tx.position().await?, position, "asked twice, counted once");
            add(tx, owned, item, 1).await?;
            Work::Ok(position)
        })
    });
    written.await
}

async fn write<E: Engine>(db: &Db<E>, key: &UserKey, item: i64) -> u64 {
    try_write(db, key, item).await.expect("home")
}

/// Writes until it gets its turn; the position, if the write is one that asks for it.
async fn patient<E: Engine>(db: &Db<E>, key: &UserKey, asks: bool) -> Option<u64> {
    loop {
        let written =
            if asks { try_write(db, key, 1).await.map(Some) } else { put(db, key, 1, 1).await.map(|()| None) };
        match written {
            Ok(position) => return position,
            Err(TxError::Storage(error)) if error.class() == Class::Retry => {}
            Err(error) => panic!("{error}"),
        }
    }
}

fn key(request_id: &str) -> IdempotencyKey {
    IdempotencyKey::new("/suite.v1.Suite/Add", request_id, b"b").expect("a short id")
}

/// An idempotent write; whether the work ran.
async fn once<E: Engine>(db: &Db<E>, user: &UserKey, request_id: &str) -> bool {
    let (request, owned) = (plain(user), user.clone());
    let written = db.idempotent(&request, key(request_id), move |tx| {
        Box::pin(async move {
            add(tx, owned, 1, 1).await?;
            Work::Ok(Receipt { serial: 1 })
        })
    });
    !written.await.expect("home").is_replayed()
}

/// Fenced, first idempotent and registering writes count one each; nothing else does.
pub async fn each_committed_write_counts_one<F: Factory>(factory: &F) {
    let (place, db) = database(factory).await;
    let user = key_of(&here(), 0);
    assert_eq!(position(&db, &user).await, 0);
    put(&db, &user, 1, 1).await.expect("home");
    assert_eq!(position(&db, &user).await, 1, "also of a write that did not ask");
    assert_eq!(write(&db, &user, 1).await, 2);
    assert!(once(&db, &user, "r1").await);
    assert_eq!(position(&db, &user).await, 3);

    assert!(!once(&db, &user, "r1").await, "replayed");
    let request = plain(&user);
    let failed = db.fenced(&request, |tx| {
        Box::pin(async move {
            tx.position().await?;
            Err::<(), _>(WorkError::Business(SuiteError))
        })
    });
    assert!(matches!(failed.await, Err(TxError::Business(SuiteError))));
    let global = db.global(|tx| Box::pin(async move { Ok::<_, WorkError<SuiteError>>(tx.position().await?) }));
    assert_eq!(global.await.expect("commits"), 0, "nobody's");
    assert_eq!(position(&db, &user).await, 3);
    assert_eq!(position(&db, &key_of(&here(), 1)).await, 0, "another user's count is another one");

    let minted = key_of(&here(), 5);
    let drawn = minted.clone();
    let registered = db.register(
        key("r2"),
        move || Some(drawn.clone()),
        |tx, user| {
            Box::pin(async move {
                add(tx, user, 1, 1).await?;
                Work::Ok(Receipt { serial: 1 })
            })
        },
    );
    registered.await.expect("registered");
    assert_eq!(position(&db, &minted).await, 1);
    db.close().await;
    assert_eq!(position(&another(factory, &place).await, &user).await, 3, "after a restart");
}

/// Data and position of a read are of one moment, whatever is written meanwhile.
pub async fn a_read_tells_where_its_snapshot_stands<F: Factory>(factory: &F) {
    let (place, db) = database(factory).await;
    let other = another(factory, &place).await;
    let user = key_of(&here(), 0);
    put(&db, &user, 1, 1).await.expect("home");
    let (request, owned) = (plain(&user), user.clone());
    let read = db.fenced_read(&request, move |tx| {
        Box::pin(async move {
            write(&other, &owned, 1).await;
            let sql = "SELECT amount FROM suite_account WHERE user_key = ?";
            let mut rows = tx.query(sql, vec![owned.as_bytes().into()]).await?;
            Ok::<_, WorkError<SuiteError>>((rows.remove(0).integer()?, tx.position().await?))
        })
    });
    assert_eq!(read.await.expect("home"), (1, 1));
    assert_eq!(position(&db, &user).await, 2);
}

/// Writers of two processes at once: every position is one write's own, and a reader who saw a position sees all writes
/// up to it.
pub async fn positions_have_no_gaps<F: Factory>(factory: &F) {
    let (place, one) = database(factory).await;
    let two = another(factory, &place).await;
    let user = key_of(&here(), 0);
    let (writers, each): (u64, u64) = (8, if soak() { 500 } else { 15 });
    let writes = writers * each;
    let mut rng = seeded("positions_have_no_gaps");
    let writers = (0..writers).map(|n| {
        let (db, user) = (if n % 2 == 0 { one.clone() } else { two.clone() }, user.clone());
        let plan: Vec<_> =
            (0..each).map(|_| (Duration::from_micros(rng.random_range(0..2_000)), rng.random_bool(0.5))).collect();
        tokio::spawn(async move {
            let mut told = vec![];
            for (delay, asks) in plan {
                sleep(delay).await;
                told.extend(patient(&db, &user, asks).await);
            }
            told
        })
    });
    let writers: Vec<_> = writers.collect();
    let mut seen = 0;
    while seen < writes && !writers.iter().all(tokio::task::JoinHandle::is_finished) {
        let (request, owned) = (plain(&user), user.clone());
        let read = one.fenced_read(&request, move |tx| {
            Box::pin(async move {
                let sql = "SELECT amount FROM suite_account WHERE user_key = ?";
                let amount = tx.query(sql, vec![owned.as_bytes().into()]).await?.pop();
                let amount = amount.map(|mut row| row.unsigned()).transpose()?;
                Ok::<_, WorkError<SuiteError>>((amount.unwrap_or(0), tx.position().await?))
            })
        });
        let (amount, position) = read.await.expect("home");
        assert_eq!(amount, position, "each write adds one");
        assert!(position >= seen);
        seen = position;
    }
    let mut told = BTreeSet::new();
    for writer in writers {
        for position in writer.await.expect("no panic") {
            assert!(told.insert(position), "position {position} was given twice");
        }
    }
    assert!(told.iter().all(|position| (1..=writes).contains(position)));
    assert_eq!(position(&two, &user).await, writes);
    println!("figure: positions N={writes}");
}

/// A position moves with its user, there and back.
pub async fn a_new_home_goes_on_counting<F: Factory>(factory: &F) {
    let (_places, [ours, theirs]) = steps::cells(factory).await;
    let (user, all) = (key_of(&here(), 0), steps::participants());
    for expected in 1..=3 {
        assert_eq!(write(&ours, &user, 1).await, expected);
    }
    steps::carry_all(1, &ours, &theirs, &user, 0, &all).await;
    assert_eq!(position(&theirs, &user).await, 3);
    assert_eq!(write(&theirs, &user, 1).await, 4);
    steps::carry_all(2, &theirs, &ours, &user, 1, &all).await;
    assert_eq!(write(&ours, &user, 1).await, 5);
    let left = theirs.ownership().purge(&user, UserEpoch::new(2), all).await.expect("left behind");
    assert!(left > 0);
    assert_eq!(super::number(&theirs, "SELECT COUNT(*) FROM user_position").await, 0);
}

#[derive(Default)]
struct Heard(Mutex<Vec<(u64, u64)>>);

impl TxObserver for Heard {
    fn finished(&self, _: TxKind, _: TxOutcome<'_>) {}

    fn stood(&self, standing: &Standing) {
        assert_eq!(standing.user, key_of(&here(), 0));
        self.0.lock().expect("no panic inside").push((standing.epochs.user.get(), standing.position));
    }
}

/// Writes tell their own position, reads that of their snapshot, repetitions the present one; what fails tells none.
pub async fn the_observer_hears_where_a_user_stands<F: Factory>(factory: &F) {
    let (place, first) = database(factory).await;
    first.close().await;
    let heard = Arc::new(Heard::default());
    let config = crate::Settings { observer: Some(Arc::clone(&heard) as Arc<dyn TxObserver>), ..settings() };
    let db = factory.open(&place, config, &migrations::<F>()).await.expect("open");
    let (ours, theirs) = (key_of(&here(), 0), key_of(&there(), 0));
    position(&db, &ours).await;
    put(&db, &ours, 1, 1).await.expect("home");
    assert!(once(&db, &ours, "r1").await);
    put(&db, &ours, 1, 1).await.expect("home");
    assert!(!once(&db, &ours, "r1").await);
    position(&db, &ours).await;
    assert!(put(&db, &theirs, 1, 1).await.is_err());
    assert!(put(&db, &ours, 1, -9).await.is_err(), "a broken check");
    super::fence::set_user(&db, &ours, cell_map::ownership::UserState::Home, 4).await;
    position(&db, &ours).await;
    // Of one user beside a foreign one it is told, of several it is not.
    let other = key_of(&here(), 1);
    for users in [[&ours, &theirs, &ours], [&ours, &theirs, &other]] {
        let users = users.map(plain);
        let read = db.fenced_read_each(&users, |_, _| Box::pin(async { Work::Ok(()) }));
        read.await.expect("partly at home");
    }
    let heard = heard.0.lock().expect("no panic inside").clone();
    assert_eq!(heard, [(0, 0), (0, 1), (0, 2), (0, 3), (0, 3), (0, 3), (4, 3), (4, 3)]);
}

/// Commits and steps of moves wake the watchers of their user before the writer hears of them; others' do not, nor does
/// what is rolled back.
pub async fn a_users_watchers_hear_of_his_commits_alone<F: Factory>(factory: &F) {
    let (_place, db) = database(factory).await;
    let (ann, bob) = (key_of(&here(), 0), key_of(&here(), 1));
    let (mut of_ann, mut of_bob) = (db.changes(&ann), db.changes(&bob));
    let mut again = db.changes(&ann);
    assert!(!of_ann.has_changed());
    put(&db, &ann, 1, 1).await.expect("home");
    assert!(of_ann.has_changed() && again.has_changed() && !of_bob.has_changed());
    timeout(LONG, of_ann.changed()).await.expect("woken");
    assert!(!of_ann.has_changed());
    drop(again);

    assert!(put(&db, &ann, 1, -9).await.is_err());
    position(&db, &ann).await;
    assert!(!of_ann.has_changed());
    // A write whose caller has left.
    let (go, wait) = oneshot::channel::<()>();
    let (request, owned) = (plain(&ann), ann.clone());
    let left = db.fenced(&request, move |tx| {
        Box::pin(async move {
            let _ = wait.await;
            add(tx, owned, 1, 1).await
        })
    });
    assert!(timeout(Duration::from_millis(50), left).await.is_err());
    let _ = go.send(());
    timeout(LONG, of_ann.changed()).await.expect("woken");
    assert_eq!(position(&db, &ann).await, 2);

    super::fence::set_user(&db, &bob, cell_map::ownership::UserState::Frozen, 0).await;
    timeout(LONG, of_bob.changed()).await.expect("woken by the step");
    assert!(!of_ann.has_changed());
    drop((of_ann, of_bob));
    put(&db, &ann, 1, 1).await.expect("home");
    assert!(!db.changes(&ann).has_changed(), "only what comes after");
}

/// As long as the mark stands still, whoever heard of nothing missed nothing: own writes leave it, writes of another
/// process change it. An engine without such a mark says so.
pub async fn what_others_commit_is_not_overlooked<F: Factory>(factory: &F) {
    let (place, db) = database(factory).await;
    let other = another(factory, &place).await;
    let user = key_of(&here(), 0);
    let Some(mut mark) = db.unseen().await.expect("a mark") else { return };
    for _ in 0..5 {
        put(&db, &user, 1, 1).await.expect("home");
        position(&db, &user).await;
        assert_eq!(db.unseen().await.expect("a mark"), Some(mark), "own writes are told by name");
    }
    for _ in 0..5 {
        put(&other, &user, 1, 1).await.expect("home");
        let now = db.unseen().await.expect("a mark").expect("as before");
        assert_ne!(now, mark);
        mark = now;
    }
    // A mark that stood still says what the position is.
    let writes = if soak() { 2_000 } else { 60 };
    let writer = tokio::spawn({
        let (db, user) = (db.clone(), user.clone());
        async move {
            for n in 0..writes {
                let by = if n % 7 == 0 { &other } else { &db };
                patient(by, &user, false).await;
            }
        }
    });
    let mut proven = 0;
    while !writer.is_finished() {
        let mark = db.unseen().await.expect("a mark");
        let mut changes = db.changes(&user);
        let before = position(&db, &user).await;
        // Between these two nothing may be found that neither of them tells of.
        let now = position(&db, &user).await;
        let quiet = db.unseen().await.expect("a mark") == mark && !changes.has_changed();
        if quiet {
            assert_eq!(now, before);
            proven += 1;
        }
    }
    writer.await.expect("no panic");
    println!("figure: quiet_marks N={writes} proven={proven}");
}
