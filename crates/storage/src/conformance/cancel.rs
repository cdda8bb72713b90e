//! Calls whose callers go away at any moment (I14).

use super::{Factory, SuiteError, Work, add, another, database, here, items, key_of, number, plain, seeded, soak};
use crate::{Db, Engine, IdempotencyKey, Mode, OutboxEvent, WorkError, conformance::idempotency::Receipt};
use cell_map::UserKey;
use rand::{RngExt as _, rngs::StdRng};
use std::{task::Poll, time::Duration};
use tokio::{task::JoinSet, time::timeout};

/// How many connections are probed at once; more than any engine's reader pool of the suite has, one after another.
const PROBES: usize = 8;

async fn one_call<E: Engine>(db: Db<E>, user: UserKey, n: i64, kind: u32) {
    let owned = user.clone();
    let _ = match kind {
        0 => db
            .fenced(&plain(&user), move |tx| {
                Box::pin(async move {
                    add(tx, owned.clone(), n, 1).await?;
                    add(tx, owned, -1, 1).await?;
                    Work::Ok(tx.emit(OutboxEvent::new("suite.event", n.to_be_bytes())).await?)
                })
            })
            .await
            .is_ok(),
        1 => {
            let key = IdempotencyKey::new("/suite.v1.Suite/Add", &format!("r{n}"), b"").expect("a short id");
            let request = plain(&user);
            let work = db.idempotent(&request, key, move |tx| {
                Box::pin(async move {
                    add(tx, owned.clone(), n, 1).await?;
                    add(tx, owned, -1, 1).await?;
                    tx.emit(OutboxEvent::new("suite.event", n.to_be_bytes())).await?;
                    Work::Ok(Receipt::default())
                })
            });
            work.await.is_ok()
        }
        2 => db
            .fenced(&plain(&user), move |tx| {
                Box::pin(async move {
                    add(tx, owned, n, 1).await?;
                    Err::<(), _>(WorkError::Business(SuiteError))
                })
            })
            .await
            .is_ok(),
        _ => {
            let request = plain(&user);
            let read = db.fenced_read(&request, |tx| {
                Box::pin(async move {
                    let sql = "SELECT user_key, item, amount FROM suite_account";
                    Ok::<_, WorkError<SuiteError>>(tx.query(sql, vec![]).await?.len())
                })
            });
            read.await.is_ok()
        }
    };
}

/// Drops a future at one of its first points of waiting, whichever that is: finer than any timer.
async fn poll_at_most<T>(mut polls: u32, future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending if polls <= 1 => Poll::Ready(None),
        Poll::Pending => {
            polls -= 1;
            Poll::Pending
        }
    })
    .await
}

/// Every connection must be without a transaction and do as told.
async fn probe<E: Engine>(db: &Db<E>) {
    for mode in [Mode::Read, Mode::Write] {
        let mut leases = vec![];
        for _ in 0..PROBES {
            let acquired = timeout(Duration::from_secs(2), db.engine().acquire(mode)).await;
            let Ok(lease) = acquired else { break };
            leases.push(lease.expect("a connection"));
        }
        assert!(!leases.is_empty(), "no connection is left");
        for lease in &mut leases {
            E::begin(lease, mode).await.expect("no transaction was left open");
            E::query(lease, "SELECT COUNT(*) FROM suite_account", vec![]).await.expect("it answers");
            E::rollback(lease).await.expect("it rolls back");
        }
    }
}

/// Calls of every kind are dropped at random moments; no connection is left with a transaction, and every transaction
/// stands as a whole or not at all.
pub async fn cancelled_calls_poison_no_connection<F: Factory>(factory: &F) {
    let (place, db) = database(factory).await;
    let user = key_of(&here(), 0);
    let calls: i64 = if soak() { 10_000 } else { 500 };
    let mut rng: StdRng = seeded("cancelled_calls_poison_no_connection");
    let mut running = JoinSet::new();
    let mut cancelled = 0_u32;
    for n in 0..calls {
        let (db, user, kind) = (db.clone(), user.clone(), rng.random_range(0..4));
        let patience = Duration::from_micros(rng.random_range(0..3_000));
        running.spawn(async move { timeout(patience, one_call(db, user, n, kind)).await.is_err() });
        if running.len() >= 16 {
            cancelled += u32::from(running.join_next().await.expect("some").expect("no panic"));
        }
    }
    while let Some(ended) = running.join_next().await {
        cancelled += u32::from(ended.expect("no panic"));
    }
    println!("figure: cancelled_calls N={calls} cancelled={cancelled}");
    assert!(cancelled > 0, "the delays were too long to cancel anything");
    super::put(&db, &user, -2, 1).await.expect("behind everything that still ran");
    probe(&db).await;

    let fresh = another(factory, &place).await;
    let mut items = items(&fresh, &user).await;
    items.retain(|(item, _)| *item != -2);
    let total = items.iter().find(|(item, _)| *item == -1).map_or(0, |(_, amount)| *amount);
    items.retain(|(item, _)| *item >= 0);
    assert!(items.iter().all(|(_, amount)| *amount == 1), "nothing took effect twice");
    assert_eq!(total, i64::try_from(items.len()).expect("small"), "both halves of each transaction or none");
    assert_eq!(number(&fresh, "SELECT COUNT(*) FROM outbox").await, total, "and its event");
}

/// The engine's own promise, without the detached task around it: a lease dropped in the middle of BEGIN, a statement
/// or COMMIT never hands its transaction to the next borrower.
pub async fn abandoned_leases_are_repaired<F: Factory>(factory: &F) {
    let (place, db) = database(factory).await;
    let rounds: i64 = if soak() { 10_000 } else { 300 };
    let mut rng = seeded("abandoned_leases_are_repaired");
    let mut abandoned = 0;
    for n in 0..rounds {
        let polls = rng.random_range(1..9);
        let mode = if rng.random_bool(0.7) { Mode::Write } else { Mode::Read };
        let engine = db.engine();
        let work = async {
            let mut lease = engine.acquire(mode).await.expect("a connection");
            F::Engine::begin(&mut lease, mode).await.expect("the next borrower found a transaction open");
            if mode == Mode::Write {
                let sql = "INSERT INTO suite_shared (id, value) VALUES (?, 0)";
                F::Engine::execute(&mut lease, sql, vec![(-1 - n).into()]).await.expect("a write");
                // Left without COMMIT or ROLLBACK.
            } else {
                let sql = "SELECT COUNT(*) FROM suite_account";
                F::Engine::query(&mut lease, sql, vec![]).await.expect("a read");
            }
        };
        abandoned += u32::from(poll_at_most(polls, work).await.is_none());
        let insert = db.global(move |tx| {
            Box::pin(async move {
                let sql = "INSERT INTO suite_shared (id, value) VALUES (?, 1)";
                tx.execute(sql, vec![n.into()]).await?;
                Work::Ok(())
            })
        });
        insert.await.expect("an acknowledged write");
    }
    assert!(abandoned > 0, "nothing was abandoned in the middle");
    println!("figure: abandoned_leases N={rounds} in_the_middle={abandoned}");
    probe(&db).await;
    let fresh = another(factory, &place).await;
    assert_eq!(number(&fresh, "SELECT COUNT(*) FROM suite_shared WHERE value = 1").await, rounds, "acknowledged");
    assert_eq!(number(&fresh, "SELECT COUNT(*) FROM suite_shared WHERE value = 0").await, 0, "never committed");
}
