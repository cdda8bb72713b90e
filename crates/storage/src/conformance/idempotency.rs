//! Idempotency keys.

use super::{
    Factory, SuiteError, Work, add, another, database, here, items, key_of, migrations, number, plain, seeded,
    settings, soak, there,
};
use crate::{BoxFuture, Db, Engine, IdempotencyKey, KeyInUse, Outcome, StorageError, Tx, TxError, WorkError};
use cell_map::{UserKey, ownership::UserState};
use rand::RngExt as _;
use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::oneshot,
    time::{sleep, timeout},
};

/// The suite's answer: a message like any service's.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Receipt {
    /// A number drawn by the work, different each time it runs.
    #[prost(int64, tag = "1")]
    pub serial: i64,
}

fn key(request_id: &str, body: &str) -> IdempotencyKey {
    IdempotencyKey::new("/suite.v1.Suite/Add", request_id, body.as_bytes()).expect("a short id")
}

/// Work that adds 1 and answers with a number of its own.
fn add_one<E: Engine>(
    user: &UserKey,
) -> impl for<'t> FnOnce(&'t mut Tx<E>) -> BoxFuture<'t, Work<Receipt>> + Send + 'static {
    static SERIAL: AtomicI64 = AtomicI64::new(1);
    let user = user.clone();
    move |tx| {
        Box::pin(async move {
            add(tx, user, 1, 1).await?;
            Ok(Receipt { serial: SERIAL.fetch_add(1, Ordering::Relaxed) })
        })
    }
}

async fn call<E: Engine>(
    db: &Db<E>,
    user: &UserKey,
    key: IdempotencyKey,
) -> Result<Outcome<Receipt>, TxError<SuiteError>> {
    db.idempotent(&plain(user), key, add_one(user)).await
}

/// The same request again gets the first answer, and takes effect once; also after a restart.
pub async fn a_repetition_is_answered_from_the_first<F: Factory>(factory: &F) {
    let (place, db) = database(factory).await;
    let user = key_of(&here(), 0);
    let Ok(Outcome::Fresh(first)) = call(&db, &user, key("r1", "body")).await else { panic!("the first runs") };
    let again = call(&db, &user, key("r1", "body")).await.expect("replayed");
    assert_eq!(again, Outcome::Replayed(first));
    db.close().await;
    let db = another(factory, &place).await;
    let again = call(&db, &user, key("r1", "body")).await.expect("replayed");
    assert_eq!(again, Outcome::Replayed(first));
    assert_eq!(items(&db, &user).await, [(1, 1)]);

    let global = |body| db.global_idempotent(key("r1", body), add_one(&user));
    assert!(matches!(global("body").await, Ok(Outcome::Fresh(_))), "what no user owns has keys of its own");
    assert!(matches!(global("body").await, Ok(Outcome::Replayed(_))));
    assert!(matches!(global("other").await, Err(TxError::KeyInUse(KeyInUse::Conflict))));
}

/// The same id with another request is refused and changes nothing.
pub async fn another_body_is_a_conflict<F: Factory>(factory: &F) {
    let (_place, db) = database(factory).await;
    let user = key_of(&here(), 0);
    call(&db, &user, key("r1", "body")).await.expect("the first runs");
    let ended = call(&db, &user, key("r1", "another body")).await;
    assert!(matches!(ended, Err(TxError::KeyInUse(KeyInUse::Conflict))), "{ended:?}");
    assert_eq!(items(&db, &user).await, [(1, 1)]);
}

/// A business error, a panic and a failed statement leave the key free.
pub async fn failures_are_not_remembered<F: Factory>(factory: &F) {
    let (_place, db) = database(factory).await;
    let user = key_of(&here(), 0);
    let request = plain(&user);
    let business = db.idempotent(&request, key("r1", "b"), |_| {
        Box::pin(async { Err::<Receipt, _>(WorkError::Business(SuiteError)) })
    });
    assert!(matches!(business.await, Err(TxError::Business(SuiteError))));
    let request = plain(&user);
    let panics = db.idempotent(&request, key("r1", "b"), |_| Box::pin(async { panic!("on purpose") }));
    assert!(matches!(
        panics.await,
        Err::<Outcome<Receipt>, TxError<SuiteError>>(TxError::Storage(StorageError::Panicked(_)))
    ));
    let owned = user.clone();
    let request = plain(&user);
    let negative = db.idempotent(&request, key("r1", "b"), |tx| {
        Box::pin(async move {
            add(tx, owned, 1, -1).await?;
            Work::Ok(Receipt::default())
        })
    });
    let ended = negative.await;
    assert!(matches!(&ended, Err(TxError::Storage(error)) if error.is_check_violation()), "{ended:?}");
    let ended = call(&db, &user, key("r1", "b")).await.expect("now it runs");
    assert!(!ended.is_replayed());
    assert_eq!(items(&db, &user).await, [(1, 1)]);
}

/// While the first call works, from before BEGIN until after COMMIT, its duplicates hear so at once; afterwards all get
/// its answer.
pub async fn of_many_duplicates_one_runs<F: Factory>(factory: &F) {
    let (_place, db) = database(factory).await;
    let user = key_of(&here(), 0);
    let (begun, has_begun) = oneshot::channel();
    let (go, wait) = oneshot::channel::<()>();
    let first = tokio::spawn({
        let (db, user) = (db.clone(), user.clone());
        async move {
            let owned = user.clone();
            let request = plain(&user);
            let work = db.idempotent(&request, key("r1", "b"), move |tx| {
                Box::pin(async move {
                    add(tx, owned, 1, 1).await?;
                    let _ = begun.send(());
                    let _ = wait.await;
                    Work::Ok(Receipt { serial: 77 })
                })
            });
            work.await
        }
    });
    has_begun.await.expect("the first is at work");
    let calls = (0..50).map(|_| {
        let (db, user) = (db.clone(), user.clone());
        tokio::spawn(async move { call(&db, &user, key("r1", "b")).await })
    });
    for call in calls.collect::<Vec<_>>() {
        let ended = timeout(Duration::from_secs(2), call).await.expect("answered though the first still works");
        let ended = ended.expect("no panic");
        assert!(matches!(ended, Err(TxError::KeyInUse(KeyInUse::InProgress))), "{ended:?}");
    }
    let _ = go.send(());
    let answer = Receipt { serial: 77 };
    assert_eq!(first.await.expect("no panic").expect("it commits"), Outcome::Fresh(answer));
    assert_eq!(call(&db, &user, key("r1", "b")).await.expect("replayed"), Outcome::Replayed(answer));
    assert_eq!(items(&db, &user).await, [(1, 1)]);
}

/// Two processes that get duplicates at random moments: each request takes effect once and has one answer.
pub async fn duplicates_of_two_processes_run_once<F: Factory>(factory: &F) {
    let (place, one) = database(factory).await;
    let two = another(factory, &place).await;
    let user = key_of(&here(), 0);
    let requests: u64 = if soak() { 5_000 } else { 100 };
    let mut rng = seeded("duplicates_of_two_processes_run_once");
    for n in 0..requests {
        let id = format!("r{n}");
        let answers = [&one, &two, &one, &two].map(|db| {
            let (db, user, id) = (db.clone(), user.clone(), id.clone());
            let delay = Duration::from_micros(rng.random_range(0..500));
            tokio::spawn(async move {
                sleep(delay).await;
                // A client repeats what was not answered.
                for _ in 0..20_000 {
                    match call(&db, &user, key(&id, "b")).await {
                        Ok(outcome) => return outcome,
                        Err(TxError::KeyInUse(KeyInUse::InProgress)) => sleep(Duration::from_millis(1)).await,
                        Err(error) => panic!("{error}"),
                    }
                }
                panic!("never answered")
            })
        });
        let mut outcomes = vec![];
        for answer in answers {
            outcomes.push(answer.await.expect("no panic"));
        }
        assert_eq!(outcomes.iter().filter(|outcome| !outcome.is_replayed()).count(), 1, "{outcomes:?}");
        let first = outcomes[0].into_inner();
        assert!(outcomes.into_iter().all(|outcome| outcome.into_inner() == first));
    }
    println!("figure: duplicates_of_two_processes N={requests}");
    assert_eq!(items(&one, &user).await, [(1, i64::try_from(requests).expect("small"))]);
}

/// Another user's, or another method's, equal request id is another key.
pub async fn keys_belong_to_user_and_method<F: Factory>(factory: &F) {
    let (_place, db) = database(factory).await;
    let (ann, bob) = (key_of(&here(), 0), key_of(&here(), 1));
    let other_method = IdempotencyKey::new("/suite.v1.Suite/Other", "r1", b"b").expect("a short id");
    assert!(!call(&db, &ann, key("r1", "b")).await.expect("runs").is_replayed());
    assert!(!call(&db, &bob, key("r1", "of bob")).await.expect("runs").is_replayed());
    assert!(!call(&db, &ann, other_method).await.expect("runs").is_replayed());
    for id in ["", &"x".repeat(256)] {
        assert!(IdempotencyKey::new("/m", id, b"").is_err(), "{} bytes", id.len());
    }
}

/// Answers are kept for their time, then swept in bounded portions.
pub async fn expired_answers_are_swept<F: Factory>(factory: &F) {
    let (place, first) = database(factory).await;
    first.close().await;
    let now = Arc::new(AtomicI64::new(1_000_000));
    let clock = Arc::clone(&now);
    let config = crate::Settings {
        idempotency_ttl: Duration::from_secs(60),
        clock: Arc::new(move || clock.load(Ordering::Relaxed)),
        ..settings()
    };
    let db = factory.open(&place, config, &migrations::<F>()).await.expect("open");
    let user = key_of(&here(), 0);
    for id in ["r1", "r2", "r3"] {
        call(&db, &user, key(id, "b")).await.expect("runs");
        now.fetch_add(1_000, Ordering::Relaxed);
    }
    assert_eq!(db.sweep_idempotency(100).await.expect("sweep"), 0);
    now.fetch_add(57_500, Ordering::Relaxed);
    assert_eq!(db.sweep_idempotency(100).await.expect("sweep"), 1, "the oldest alone is over");
    assert!(call(&db, &user, key("r2", "b")).await.expect("replayed").is_replayed());
    now.fetch_add(100_000, Ordering::Relaxed);
    assert_eq!(db.sweep_idempotency(1).await.expect("sweep"), 1);
    assert_eq!(number(&db, "SELECT COUNT(*) FROM idempotency").await, 1);
    assert_eq!(db.sweep_idempotency(100).await.expect("sweep"), 1);
    assert!(!call(&db, &user, key("r2", "b")).await.expect("runs again").is_replayed());
}

/// A cell that is no longer home does not even replay: the answer moved with the user.
pub async fn the_fence_comes_before_the_answer<F: Factory>(factory: &F) {
    let (_place, db) = database(factory).await;
    let user = key_of(&here(), 0);
    call(&db, &user, key("r1", "b")).await.expect("runs");
    super::fence::set_user(&db, &user, UserState::MovedTo { cell: there() }, 1).await;
    let ended = call(&db, &user, key("r1", "b")).await;
    assert!(matches!(ended, Err(TxError::Refused(_))), "{ended:?}");
}

/// A caller that lost its answer learns it by repeating: exactly one transaction stands.
pub async fn an_unknown_outcome_is_known_by_repeating<F: Factory>(factory: &F) {
    let (_place, db) = database(factory).await;
    let user = key_of(&here(), 0);
    let calls: i64 = if soak() { 10_000 } else { 300 };
    let mut rng = seeded("an_unknown_outcome_is_known_by_repeating");
    let mut lost = 0;
    for n in 0..calls {
        let id = format!("r{n}");
        let patience = Duration::from_micros(rng.random_range(0..3_000));
        let first = timeout(patience, call(&db, &user, key(&id, "b"))).await;
        lost += i64::from(first.is_err());
        let mut answer = None;
        while answer.is_none() {
            match call(&db, &user, key(&id, "b")).await {
                Ok(outcome) => answer = Some(outcome.into_inner()),
                Err(TxError::KeyInUse(KeyInUse::InProgress)) => sleep(Duration::from_micros(200)).await,
                Err(error) => panic!("{error}"),
            }
        }
        if let Ok(first) = first {
            assert_eq!(Some(first.expect("runs").into_inner()), answer, "{id}");
        }
    }
    println!("figure: unknown_outcomes N={calls} lost={lost}");
    assert_eq!(items(&db, &user).await, [(1, calls)]);
}
