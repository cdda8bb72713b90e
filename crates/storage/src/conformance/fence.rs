//! The fence: who may be served is read in the transaction itself (OWN-4, OWN-5).

use super::{
    Factory, SuiteError, Work, add, another, database, draft, here, items, key_of, map, migrations, number, plain, put,
    settings, there,
};
use crate::{Db, Engine, FenceRequest, Refusal, StorageError, TxError, WorkError, ownership::Change};
use cell_map::{
    BUCKET_COUNT, BucketEpoch, BucketId, OwnerEpochs, UserEpoch, UserKey,
    ownership::{AwayRow, BucketState, Claim, KeyRows, MoveId, UserRow, UserState},
};
use std::time::Duration;
use tokio::{sync::oneshot, time::sleep};

/// No participants: the step purges nothing.
pub(super) fn nobody<E: Engine>() -> crate::Participants<E> {
    std::sync::Arc::new([])
}

const CLAIM: Claim = Claim { move_id: MoveId(7), attempt: 1 };

/// Sets a key's rows.
pub(super) async fn set<E: Engine>(db: &Db<E>, key: &UserKey, change: impl FnOnce(&mut KeyRows) + Send + 'static) {
    let step = db.user_step(key, nobody(), |_, rows| {
        let mut rows = rows.clone();
        change(&mut rows);
        Ok::<_, SuiteError>(Change::new(rows, ()))
    });
    step.await.expect("a step that decides freely");
}

/// Gives the user a row of his own.
pub(super) async fn set_user<E: Engine>(db: &Db<E>, key: &UserKey, state: UserState, epoch: u64) {
    let row = UserRow { state, epoch: UserEpoch::new(epoch), claim: Some(CLAIM) };
    set(db, key, |rows| rows.user = Some(row)).await;
}

fn epochs(user: u64, bucket: u64) -> OwnerEpochs {
    OwnerEpochs::new(UserEpoch::new(user), BucketEpoch::new(bucket))
}

async fn refusal<E: Engine>(db: &Db<E>, key: &UserKey, asked: OwnerEpochs) -> Option<Refusal> {
    let request = FenceRequest { key, asked };
    let wrote = db.fenced(&request, |_| Box::pin(async { Work::Ok(()) })).await;
    let read = db.fenced_read(&request, |_| Box::pin(async { Work::Ok(()) })).await;
    assert_eq!(format!("{wrote:?}"), format!("{read:?}"), "reads and writes are fenced alike");
    match wrote {
        Ok(()) => None,
        Err(TxError::Refused(refusal)) => Some(refusal),
        Err(error) => panic!("{error}"),
    }
}

/// A user at home is served under its epochs; for another the cell names the owner.
pub async fn home_is_served_and_elsewhere_is_named<F: Factory>(factory: &F) {
    let (_place, db) = database(factory).await;
    let (ours, theirs) = (key_of(&here(), 0), key_of(&there(), 0));
    let request = plain(&ours);
    let seen = db.fenced(&request, |tx| {
        Box::pin(async move { Ok::<_, WorkError<SuiteError>>((tx.user().cloned(), tx.epochs())) })
    });
    assert_eq!(seen.await.expect("home"), (Some(ours), epochs(0, 1)));
    let wrong = Refusal::WrongCell { owner: there(), epochs: epochs(0, 1) };
    assert_eq!(refusal(&db, &theirs, OwnerEpochs::ZERO).await, Some(wrong));
    assert_eq!(items(&db, &theirs).await, []);
}

/// A bucket without a row is an error, never "home".
pub async fn a_missing_bucket_row_refuses<F: Factory>(factory: &F) {
    let place = factory.create().await;
    let db = another(factory, &place).await;
    let key = key_of(&here(), 0);
    let missing = BucketId::of(&key);
    for ended in [put(&db, &key, 1, 1).await, db.fenced_read(&plain(&key), |_| Box::pin(async { Ok(()) })).await] {
        assert!(
            matches!(ended, Err(TxError::Storage(StorageError::MissingBucket(bucket))) if bucket == missing),
            "{ended:?}"
        );
    }
}

/// A request that knows more than this cell is told to wait (OWN-8).
pub async fn newer_epochs_are_told_to_wait<F: Factory>(factory: &F) {
    let (_place, db) = database(factory).await;
    let key = key_of(&here(), 0);
    assert_eq!(refusal(&db, &key, epochs(0, 1)).await, None);
    assert_eq!(refusal(&db, &key, epochs(0, 2)).await, Some(Refusal::Moving));
    assert_eq!(refusal(&db, &key, epochs(1, 0)).await, Some(Refusal::Moving));
}

/// Several users are read from one snapshot, each fenced for himself; that none of them is at home refuses all.
pub async fn several_are_fenced_one_by_one_in_one_snapshot<F: Factory>(factory: &F) {
    let (place, db) = database(factory).await;
    let (ann, bob, theirs) = (key_of(&here(), 0), key_of(&here(), 1), key_of(&there(), 0));
    for key in [&ann, &bob] {
        put(&db, key, 1, 5).await.expect("at home");
    }
    let writer = another(factory, &place).await;
    let (one, other) = (ann.clone(), bob.clone());
    let users = [&ann, &theirs, &bob, &ann].map(plain);
    let read = db.fenced_read_each(&users, move |tx, home| {
        Box::pin(async move {
            assert_eq!((tx.user(), &home[..]), (None, &[one.clone(), other.clone(), one][..]));
            put(&writer, &other, 1, 1).await.expect("a write beside the read");
            let mut amounts = Vec::new();
            for key in home {
                let sql = "SELECT amount FROM suite_account WHERE user_key = ?";
                let row = tx.query(sql, vec![key.as_bytes().into()]).await?.pop();
                amounts.push(row.map(|mut row| row.integer()).transpose()?);
            }
            Work::Ok(amounts)
        })
    });
    let wrong = Refusal::WrongCell { owner: there(), epochs: epochs(0, 1) };
    let (refused, seen) = read.await.expect("partly at home");
    assert_eq!(refused, [Ok(()), Err(wrong.clone()), Ok(()), Ok(())]);
    assert_eq!(seen, [Some(5); 3], "as it was at the fence");
    assert_eq!(items(&db, &bob).await, [(1, 6)]);

    let users = [plain(&theirs), plain(&theirs)];
    let refused = db.fenced_read_each(&users, |_, _| Box::pin(async { Work::Ok(()) })).await;
    let refused = refused.expect_err("nobody is at home");
    assert!(matches!(&refused, TxError::Refused(refusal) if *refusal == wrong), "{refused:?}");
    let read = db.fenced_read_each(&[], |_, _| Box::pin(async { Work::Ok(()) }));
    assert_eq!(read.await.expect("nothing asked"), (vec![], ()));
    set_user(&db, &ann, UserState::Frozen, 1).await;
    let users = [&ann, &bob].map(plain);
    let read = db.fenced_read_each(&users, |tx, _| Box::pin(async move { Work::Ok(tx.user().cloned()) }));
    let (refused, seen) = read.await.expect("partly at home");
    assert_eq!((&refused[..], seen), (&[Err(Refusal::Moving), Ok(())][..], Some(bob)));
}

/// The bootstrap writes one row per bucket, as the map has it, once.
pub async fn the_first_rows_are_those_of_the_map<F: Factory>(factory: &F) {
    let place = factory.create().await;
    let db = another(factory, &place).await;
    let map = map();
    assert!(db.bootstrap_ownership(&map, &here()).await.expect("bootstrap"));
    assert!(!db.bootstrap_ownership(&map, &here()).await.expect("nothing to do"));
    assert_eq!(number(&db, "SELECT COUNT(*) FROM cell_bucket").await, BUCKET_COUNT as i64);
    let (mut reserved, mut home) = (0, 0);
    for n in 0..200 {
        let key = UserKey::from_text(&format!("probe-{n}")).expect("a key");
        let (found, expected) = (db.ownership().rows(&key).await.expect("rows"), map.home(key.as_bytes()));
        let state = match (expected.cell.id == here(), map.is_reserved(expected.bucket)) {
            (true, true) => BucketState::Reserved,
            (true, false) => BucketState::Home,
            (false, _) => BucketState::Gone { to: expected.cell.id.clone() },
        };
        reserved += u32::from(state == BucketState::Reserved);
        home += u32::from(state == BucketState::Home);
        assert_eq!((found.bucket.state, found.bucket.epoch), (state, BucketEpoch::new(1)), "{key}");
    }
    assert!(reserved > 0 && home > 0, "{reserved} reserved and {home} home buckets were among the probes");
}

/// A map that begins with pins gives their users rows, here or as `away` (OWN-3).
pub async fn the_first_rows_hold_the_maps_pins<F: Factory>(factory: &F) {
    let place = factory.create().await;
    let db = another(factory, &place).await;
    let (came, left, foreign) = (key_of(&there(), 0), key_of(&here(), 0), key_of(&there(), 1));
    let mut draft = draft();
    draft.pin(came.clone(), &here(), UserEpoch::new(3)).expect("a pin");
    draft.pin(left.clone(), &there(), UserEpoch::new(4)).expect("a pin");
    draft.pin(foreign.clone(), &there(), UserEpoch::new(5)).expect("a pin");
    db.bootstrap_ownership(&draft.build().expect("a map"), &here()).await.expect("bootstrap");
    assert_eq!(refusal(&db, &came, OwnerEpochs::ZERO).await, None);
    let away = Refusal::WrongCell { owner: there(), epochs: epochs(4, 1) };
    assert_eq!(refusal(&db, &left, OwnerEpochs::ZERO).await, Some(away));
    let rows = db.ownership().rows(&foreign).await.expect("rows");
    assert_eq!((rows.user, rows.away), (None, None), "a pin that concerns neither bucket nor cell leaves no row");
}

/// Some rows without the others are damage, not a beginning.
pub async fn a_half_bootstrapped_database_is_refused<F: Factory>(factory: &F) {
    let (_place, db) = database(factory).await;
    db.global(|tx| {
        Box::pin(async move {
            tx.execute("DELETE FROM cell_bucket WHERE bucket > 100", vec![]).await?;
            Work::Ok(())
        })
    })
    .await
    .expect("damage done");
    let ended = db.bootstrap_ownership(&map(), &here()).await;
    assert!(matches!(ended, Err(StorageError::Corrupt(_))), "{ended:?}");
}

/// Two processes that start on one new database fill it once.
pub async fn two_processes_bootstrap_once<F: Factory>(factory: &F) {
    let place = factory.create().await;
    let (one, two) = (another(factory, &place).await, another(factory, &place).await);
    let map = map();
    let here = here();
    let (a, b) = tokio::join!(one.bootstrap_ownership(&map, &here), two.bootstrap_ownership(&map, &here));
    let (a, b) = (a.expect("no conflict"), b.expect("no conflict"));
    assert!(a != b, "one of them wrote the rows: {a}, {b}");
    assert_eq!(number(&one, "SELECT COUNT(*) FROM cell_bucket").await, BUCKET_COUNT as i64);
}

/// OWN-4's schedule on two connections: a transaction that has passed the fence, of a user without a row, is waited
/// for by the freeze; whoever comes after the freeze is refused.
pub async fn a_freeze_waits_for_running_transactions<F: Factory>(factory: &F) {
    let (place, db) = database(factory).await;
    let other = another(factory, &place).await;
    let key = key_of(&here(), 0);
    let (go, wait) = oneshot::channel::<()>();
    let (past, is_past) = oneshot::channel();
    let running = tokio::spawn({
        let (db, key) = (db.clone(), key.clone());
        async move {
            let owned = key.clone();
            db.fenced(&plain(&key), move |tx| {
                Box::pin(async move {
                    let _ = past.send(());
                    let _ = wait.await;
                    add(tx, owned, 1, 1).await
                })
            })
            .await
        }
    });
    is_past.await.expect("the fence lets it pass");
    let freezing = tokio::spawn({
        let (other, key) = (other.clone(), key.clone());
        async move { set_user(&other, &key, UserState::Frozen, 0).await }
    });
    sleep(Duration::from_millis(100)).await;
    assert!(!freezing.is_finished(), "the freeze must wait for a transaction past its fence");
    let _ = go.send(());
    running.await.expect("no panic").expect("it was home when it passed");
    freezing.await.expect("the freeze ends");
    assert_eq!(items(&db, &key).await, [(1, 1)], "what came before the freeze stands");
    assert_eq!(refusal(&db, &key, OwnerEpochs::ZERO).await, Some(Refusal::Moving));
    assert!(put(&db, &key, 1, 1).await.is_err());
    assert_eq!(items(&db, &key).await, [(1, 1)], "nothing comes after it");
}

/// The schedule the other way round: a transaction that meets a freeze under way waits for it and is refused.
pub async fn a_transaction_waits_for_a_running_freeze<F: Factory>(factory: &F) {
    let (place, db) = database(factory).await;
    let other = another(factory, &place).await;
    let key = key_of(&here(), 0);
    let (deciding, is_deciding) = std::sync::mpsc::channel();
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let freezing = tokio::spawn({
        let key = key.clone();
        async move {
            let step = other.user_step(&key, nobody(), move |_, rows| {
                // Holds the lock with the decision made and nothing written yet.
                let _ = deciding.send(());
                let _ = wait.recv_timeout(Duration::from_secs(4));
                let user = UserRow { state: UserState::Frozen, epoch: UserEpoch::ZERO, claim: Some(CLAIM) };
                Ok::<_, SuiteError>(Change::new(KeyRows { user: Some(user), ..rows.clone() }, ()))
            });
            step.await
        }
    });
    let is_deciding = tokio::task::spawn_blocking(move || is_deciding.recv());
    is_deciding.await.expect("no panic").expect("the step begins");
    let writing = tokio::spawn({
        let (db, key) = (db.clone(), key.clone());
        async move { put(&db, &key, 1, 1).await }
    });
    sleep(Duration::from_millis(100)).await;
    assert!(!writing.is_finished(), "the transaction must wait for a freeze that holds the bucket");
    let _ = go.send(());
    freezing.await.expect("no panic").expect("the freeze ends");
    let ended = writing.await.expect("no panic");
    assert!(matches!(ended, Err(TxError::Refused(Refusal::Moving))), "{ended:?}");
    assert_eq!(items(&db, &key).await, []);
}

/// A read that passed its fence sees the data of that moment, though the user moves away and is purged meanwhile.
pub async fn a_read_is_fenced_in_its_own_snapshot<F: Factory>(factory: &F) {
    let (place, db) = database(factory).await;
    let other = another(factory, &place).await;
    let key = key_of(&here(), 0);
    put(&db, &key, 1, 1).await.expect("home");
    let owned = key.clone();
    let request = plain(&key);
    let seen = db.fenced_read(&request, move |tx| {
        Box::pin(async move {
            set_user(&other, &owned, UserState::MovedTo { cell: there() }, 1).await;
            let purge = other.global(|tx| {
                Box::pin(async move {
                    tx.execute("DELETE FROM suite_account", vec![]).await?;
                    Work::Ok(())
                })
            });
            purge.await.map_err(|_| WorkError::Business(SuiteError))?;
            let sql = "SELECT amount FROM suite_account WHERE user_key = ?";
            let rows = tx.query(sql, vec![owned.as_bytes().into()]).await?;
            Ok::<_, WorkError<SuiteError>>(rows.len())
        })
    });
    assert_eq!(seen.await.expect("it was home when it began"), 1, "an empty account of a user who has one");
    let wrong = Refusal::WrongCell { owner: there(), epochs: epochs(1, 1) };
    assert_eq!(refusal(&db, &key, OwnerEpochs::ZERO).await, Some(wrong));
}

/// While a bucket moves, users without a row are served if they have data, and wait if they have none (OWN-14).
pub async fn a_moving_bucket_serves_only_users_with_data<F: Factory>(factory: &F) {
    let (_place, db) = database(factory).await;
    let (with, without) = (key_of(&here(), 0), key_of(&here(), 1));
    put(&db, &with, 1, 1).await.expect("home");
    for key in [&with, &without] {
        set(&db, key, |rows| rows.bucket.state = BucketState::Moving { to: there(), claim: CLAIM }).await;
    }
    assert_eq!(refusal(&db, &with, OwnerEpochs::ZERO).await, None);
    assert_eq!(refusal(&db, &without, OwnerEpochs::ZERO).await, Some(Refusal::Moving));
    assert!(put(&db, &with, 1, 1).await.is_ok());
    assert_eq!(items(&db, &with).await, [(1, 2)]);
    assert_eq!(items(&db, &without).await, []);
}

/// Every state that a row can have survives storing and is answered by the protocol's table.
pub async fn each_state_is_answered_as_the_table_says<F: Factory>(factory: &F) {
    let (place, db) = database(factory).await;
    let other = cell_map::CellId::new("gz-1").expect("a name");
    let named = |user| Some(Refusal::WrongCell { owner: other.clone(), epochs: epochs(user, 1) });
    let user = |state, epoch| Some(UserRow { state, epoch: UserEpoch::new(epoch), claim: Some(CLAIM) });
    let away = |epoch| Some(AwayRow { cell: other.clone(), epoch: UserEpoch::new(epoch) });
    let cases = [
        (user(UserState::Home, 5), None, None),
        (user(UserState::Frozen, 5), None, Some(Refusal::Moving)),
        (user(UserState::Importing { from: other.clone() }, 5), None, named(5)),
        (user(UserState::MovedTo { cell: other.clone() }, 5), None, named(5)),
        (None, away(5), named(5)),
        (user(UserState::Home, 5), away(4), None),
        (user(UserState::Home, 5), away(5), None),
        (user(UserState::Home, 5), away(6), named(6)),
    ];
    for (n, (user, away, expected)) in cases.into_iter().enumerate() {
        let key = key_of(&here(), n);
        let (set_user, set_away) = (user.clone(), away.clone());
        set(&db, &key, move |rows| (rows.user, rows.away) = (set_user, set_away)).await;
        let rows = db.ownership().rows(&key).await.expect("rows");
        assert_eq!((rows.user, rows.away), (user, away), "case {n} is stored as it was given");
        assert_eq!(refusal(&db, &key, OwnerEpochs::ZERO).await, expected, "case {n}");
    }
    db.close().await;
    let again = factory.open(&place, settings(), &migrations::<F>()).await.expect("open");
    assert_eq!(refusal(&again, &key_of(&here(), 1), OwnerEpochs::ZERO).await, Some(Refusal::Moving));
}
