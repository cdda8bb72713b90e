//! Writes that are at work at once, and may share a COMMIT: each has the fate it is told, whatever the others do.

use super::{
    Factory, SuiteError, Work, add, another, database, fence::set_user, here, items, key_of, migrations, plain, put,
    seeded, settings, soak, there,
};
use crate::{
    Db, Engine, IdempotencyKey, KeyInUse, Mode, OutboxEvent, Outcome, Refusal, StorageError, Tx, TxError, WorkError,
    conformance::idempotency::Receipt,
};
use cell_map::{UserKey, ownership::UserState};
use rand::{RngExt as _, rngs::StdRng};
use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};
use tokio::{task::JoinSet, time::timeout};

/// How long a transaction's work may take here.
const LIMIT: Duration = Duration::from_millis(400);

/// How many transactions wait to share COMMITs or are at work on one; none if this database's never share.
pub fn gathered<E: Engine>(db: &Db<E>) -> Option<usize> {
    db.inner.groups.as_ref().map(|groups| groups.gathered())
}

/// How a write ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Commits,
    /// The same under a key that is used again later.
    Once,
    /// The key of an earlier one, or of a neighbour.
    Again,
    Fails,
    /// A statement breaks a constraint; the work ends with its error.
    Breaks,
    /// The same, overlooked.
    Overlooks,
    Panics,
    Hangs,
    /// Its user lives elsewhere.
    Refused,
    /// Its caller leaves at some moment.
    Left,
}

/// What was told of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Done,
    Replayed,
    Nothing,
    /// Nobody heard.
    Unheard,
}

/// What every write of this file does, in two tables, the outbox and the user's position.
async fn both_halves<E: Engine>(tx: &mut Tx<E>, user: &UserKey, item: i64) -> Work<()> {
    add(tx, user.clone(), item, 1).await?;
    tx.emit(OutboxEvent::new("suite.event", item.to_be_bytes())).await?;
    add(tx, user.clone(), -1, 1).await
}

async fn work<E: Engine>(tx: &mut Tx<E>, user: UserKey, item: i64, fate: Fate) -> Work<Receipt> {
    const SHARED: &str = "INSERT INTO suite_shared (id, value) VALUES (?, 0)";
    both_halves(tx, &user, item).await?;
    match fate {
        Fate::Fails => return Err(WorkError::Business(SuiteError)),
        Fate::Breaks => {
            tx.execute(SHARED, vec![(-item).into()]).await?;
            tx.execute(SHARED, vec![(-item).into()]).await?;
        }
        Fate::Overlooks => {
            tx.execute(SHARED, vec![item.into()]).await?;
            // An engine may then refuse the whole transaction; it must not keep half of it.
            let _ = tx.execute(SHARED, vec![item.into()]).await;
        }
        Fate::Panics => panic!("on purpose"),
        Fate::Hangs => std::future::pending().await,
        _ => {}
    }
    Ok(Receipt { serial: item })
}

fn key(n: i64) -> IdempotencyKey {
    IdempotencyKey::new("/suite.v1.Suite/Group", &format!("r{n}"), b"b").expect("a short id")
}

async fn call<E: Engine>(db: Db<E>, user: UserKey, item: i64, fate: Fate, again: i64) -> Told {
    let (request, owned) = (plain(&user), user.clone());
    let run = |item, id| {
        let owned = owned.clone();
        db.idempotent(&request, key(id), move |tx| Box::pin(async move { work(tx, owned, item, fate).await }))
    };
    let ended = match fate {
        Fate::Once => run(item, item).await,
        Fate::Again => run(item, again).await,
        _ => {
            let owned = owned.clone();
            let write = db.fenced(&request, move |tx| Box::pin(async move { work(tx, owned, item, fate).await }));
            write.await.map(Outcome::Fresh)
        }
    };
    match ended {
        Ok(Outcome::Fresh(_)) => Told::Done,
        Ok(Outcome::Replayed(_)) => Told::Replayed,
        Err(error) => {
            let as_it_was = match fate {
                Fate::Commits | Fate::Left => false,
                // A neighbour with the same key came first.
                Fate::Once | Fate::Again => matches!(error, TxError::KeyInUse(KeyInUse::InProgress)),
                Fate::Fails => matches!(error, TxError::Business(SuiteError)),
                Fate::Breaks => matches!(&error, TxError::Storage(error) if error.is_unique_violation()),
                Fate::Overlooks => matches!(error, TxError::Storage(_)),
                Fate::Panics => matches!(error, TxError::Storage(StorageError::Panicked(_))),
                Fate::Hangs => matches!(error, TxError::Storage(StorageError::TimeLimit { .. })),
                Fate::Refused => matches!(error, TxError::Refused(Refusal::WrongCell { .. })),
            };
            assert!(as_it_was, "{fate:?} was told {error}");
            Told::Nothing
        }
    }
}

fn draw(rng: &mut StdRng) -> Fate {
    use Fate::{Again, Breaks, Commits, Fails, Left, Once, Overlooks, Panics, Refused};
    match rng.random_range(0..20) {
        0..5 => Commits,
        5..9 => Once,
        9..11 => Again,
        11..13 => Fails,
        13 => Breaks,
        14 => Overlooks,
        15 => Panics,
        16 => Refused,
        _ => Left,
    }
}

/// Random mixes that wait for the writer together: what was acknowledged stands as a whole, what was not left nothing,
/// positions and outbox count what stands without gaps.
pub async fn each_of_a_group_has_the_fate_it_was_told<F: Factory>(factory: &F) {
    let (place, first) = database(factory).await;
    first.close().await;
    let config = crate::Settings { time_limit: LIMIT, ..settings() };
    let db = factory.open(&place, config, &migrations::<F>()).await.expect("open");
    let users: Vec<_> = (0..3).map(|n| key_of(&here(), n)).collect();
    let elsewhere = key_of(&there(), 0);
    let (rounds, most) = if soak() { (300, 60) } else { (12, 40) };
    let mut rng = seeded("each_of_a_group_has_the_fate_it_was_told");
    let mut all = Vec::new();
    let mut once = vec![Vec::new(); users.len()];
    let mut item = 0;
    for round in 0..rounds {
        // They queue up behind this.
        let gate = db.engine().acquire(Mode::Write).await.expect("a connection");
        let mut calls = JoinSet::new();
        let hanging = rng.random_range(0..most);
        for n in 0..rng.random_range(1..most) {
            item += 1;
            let fate = if n == hanging && round % 4 == 0 { Fate::Hangs } else { draw(&mut rng) };
            let whose = rng.random_range(0..users.len());
            let user = if fate == Fate::Refused { elsewhere.clone() } else { users[whose].clone() };
            // Of late, so that some are neighbours that wait in the same queue.
            let known: &mut Vec<i64> = &mut once[whose];
            let again = known.iter().rev().nth(rng.random_range(0..6)).copied().unwrap_or(item);
            if fate == Fate::Once {
                known.push(item);
            }
            let call = call(db.clone(), user, item, fate, again);
            let patience = Duration::from_micros(rng.random_range(0..8_000));
            let item = item;
            calls.spawn(async move {
                let told = match fate {
                    Fate::Left => timeout(patience, call).await.unwrap_or(Told::Unheard),
                    _ => call.await,
                };
                (whose, item, fate, told)
            });
            if rng.random_bool(0.3) {
                tokio::task::yield_now().await;
            }
        }
        drop(gate);
        all.extend(calls.join_all().await);
    }
    for user in &users {
        put(&db, user, -2, 1).await.expect("behind everything that still ran");
    }

    let fresh = another(factory, &place).await;
    for (at, user) in users.iter().enumerate() {
        let mut found = items(&fresh, user).await;
        let total = found.iter().find(|(item, _)| *item == -1).map_or(0, |(_, amount)| *amount);
        found.retain(|(item, _)| *item > 0);
        assert!(found.iter().all(|(_, amount)| *amount == 1), "nothing took effect twice: {found:?}");
        for (_, item, fate, told) in all.iter().filter(|(whose, ..)| *whose == at) {
            let stands = found.iter().any(|(found, _)| found == item);
            match told {
                Told::Done => assert!(stands, "{fate:?} {item} was acknowledged and is lost"),
                Told::Nothing | Told::Replayed => assert!(!stands, "{fate:?} {item} was told {told:?} and stands"),
                Told::Unheard => {}
            }
        }
        let count = i64::try_from(found.len()).expect("small");
        assert_eq!(total, count, "both halves of each or none");
        let request = plain(user);
        let read = fresh.fenced_read(&request, |tx| Box::pin(async move { Work::Ok(tx.position().await?) }));
        assert_eq!(read.await.expect("home"), u64::try_from(count).expect("small") + 1, "each counts one, and the put");
        let owned = user.clone();
        let sequences = fresh.global_read(move |tx| {
            Box::pin(async move {
                let sql = "SELECT COUNT(*), MAX(sequence) FROM outbox WHERE user_key = ?";
                let mut row = tx.query(sql, vec![owned.as_bytes().into()]).await?.remove(0);
                Work::Ok((row.integer()?, row.optional_integer()?.unwrap_or(0)))
            })
        });
        assert_eq!(sequences.await.expect("a plain read"), (count, count), "an event each, numbered without gaps");
    }
    assert_eq!(items(&fresh, &elsewhere).await, []);
    let told = |wanted| all.iter().filter(|(.., told)| *told == wanted).count();
    assert!([Told::Done, Told::Nothing, Told::Replayed].iter().all(|all| told(*all) > 0), "the mix is one of all");
    println!(
        "figure: group_fates N={} done={} replayed={} nothing={} unheard={}",
        all.len(),
        told(Told::Done),
        told(Told::Replayed),
        told(Told::Nothing),
        told(Told::Unheard),
    );
}

/// A step that freezes a user takes effect between two transactions: what was acknowledged was before it, and all that
/// comes after it is refused.
pub async fn a_freeze_splits_those_that_wait<F: Factory>(factory: &F) {
    let (_place, db) = database(factory).await;
    let rounds = if soak() { 200 } else { 15 };
    let mut rng = seeded("a_freeze_splits_those_that_wait");
    let (mut before, mut after) = (0, 0);
    for round in 0..rounds {
        let user = key_of(&here(), round);
        let gate = db.engine().acquire(Mode::Write).await.expect("a connection");
        let done = Arc::new(AtomicI64::new(0));
        let mut writes = JoinSet::new();
        let many = rng.random_range(2..30);
        let at = rng.random_range(0..many);
        let mut freeze = None;
        for n in 0..many {
            let (db, user, done) = (db.clone(), user.clone(), Arc::clone(&done));
            if n == at {
                let (db, user) = (db.clone(), user.clone());
                freeze = Some(tokio::spawn(async move { set_user(&db, &user, UserState::Frozen, 0).await }));
            }
            writes.spawn(async move {
                match put(&db, &user, 1, 1).await {
                    Ok(()) => done.fetch_add(1, Ordering::SeqCst),
                    Err(TxError::Refused(Refusal::Moving)) => 0,
                    Err(error) => panic!("{error}"),
                };
            });
            tokio::task::yield_now().await;
        }
        drop(gate);
        freeze.expect("one of them").await.expect("no panic");
        let frozen = items(&db, &user).await;
        writes.join_all().await;
        assert_eq!(items(&db, &user).await, frozen, "nothing is written to a frozen user");
        let stands = frozen.first().map_or(0, |(_, amount)| *amount);
        assert_eq!(stands, done.load(Ordering::SeqCst), "what was acknowledged stands, and nothing else");
        before += stands;
        after += many - stands;
    }
    println!("figure: freezes_among_writes N={rounds} before={before} after={after}");
}
