//! Steps of moves: the database holds exactly what the pure functions decided, and a whole move keeps every promise.

use super::{
    Factory, SuiteError, Work, another, database,
    fence::{nobody, set_user},
    here, items, key_of, map, migrations, number, plain, put, there,
};
use crate::{
    Db, Engine, OutboxEvent, Participants, Refusal, Settings, StepError, Stream, TableSpec, TxError, UserData,
    UserTables, own_participants, ownership::Change, published,
};
use cell_map::{
    BucketEpoch, BucketId, UserEpoch, UserKey,
    ownership::{
        AwayStep, BucketMove, BucketRefused, BucketState, KeyRows, MoveId, MoveRefused, Outcome, Progress, Step,
        UserMove, UserState,
    },
};
use std::sync::Arc;

/// The suite's participants.
pub fn participants<E: Engine>() -> Participants<E> {
    let tables = vec![
        TableSpec::new("suite_profile", &[]),
        TableSpec::new("suite_account", &["item"]),
        TableSpec::new("suite_note", &["note_id"]),
    ];
    Arc::new([Arc::new(UserTables::new("suite", tables)) as Arc<dyn UserData<E>>])
}

/// The databases of both cells.
pub async fn cells<F: Factory>(factory: &F) -> ([F::Place; 2], [Db<F::Engine>; 2]) {
    let (place, ours) = database(factory).await;
    let other = factory.create().await;
    let theirs = factory.open(&other, Settings::new(there()), &migrations::<F>()).await.expect("open");
    theirs.bootstrap_ownership(&map(), &there()).await.expect("bootstrap");
    ([place, other], [ours, theirs])
}

/// Copies all of a user's rows.
async fn copy<E: Engine>(
    from: &Db<E>,
    to: &Db<E>,
    key: &UserKey,
    plan: &UserMove,
    attempt: u32,
) -> Result<(), MoveRefused> {
    copy_all(from, to, key, plan, attempt, &participants()).await
}

async fn copy_all<E: Engine>(
    from: &Db<E>,
    to: &Db<E>,
    key: &UserKey,
    plan: &UserMove,
    attempt: u32,
    participants: &Participants<E>,
) -> Result<(), MoveRefused> {
    let own: Arc<dyn UserData<E>> = Arc::new(own_participants());
    for participant in participants.iter().chain([&own]) {
        let mut at = None;
        loop {
            let page = from.ownership().export(key, Arc::clone(participant), at, 3).await.expect("export");
            match to.ownership().import(key, plan, attempt, Arc::clone(participant), page.rows).await {
                Ok(()) => {}
                Err(StepError::Refused(refused)) => return Err(refused),
                Err(StepError::Storage(error)) => panic!("{error}"),
            }
            at = page.next;
            if at.is_none() {
                break;
            }
        }
    }
    Ok(())
}

fn plan(id: u128, from: &Db<impl Engine>, to: &Db<impl Engine>, base: u64) -> UserMove {
    UserMove::new(MoveId(id), from.cell().clone(), to.cell().clone(), UserEpoch::new(base)).expect("two cells")
}

/// Moves a user from beginning to end.
async fn carry<E: Engine>(id: u128, from: &Db<E>, to: &Db<E>, key: &UserKey, base: u64) {
    carry_all(id, from, to, key, base, &participants()).await;
}

/// The same with these participants' data.
pub async fn carry_all<E: Engine>(
    id: u128,
    from: &Db<E>,
    to: &Db<E>,
    key: &UserKey,
    base: u64,
    participants: &Participants<E>,
) {
    let plan = plan(id, from, to, base);
    let all = || Arc::clone(participants);
    from.ownership().claim(key, &plan, 1).await.expect("claim");
    to.ownership().prepare(key, &plan, 1, all()).await.expect("prepare");
    copy_all(from, to, key, &plan, 1, participants).await.expect("copy");
    from.ownership().freeze(key, &plan, 1).await.expect("freeze");
    copy_all(from, to, key, &plan, 1, participants).await.expect("last copy");
    let (ours, theirs) = (from.ownership().digests(key, all()).await, to.ownership().digests(key, all()).await);
    assert_eq!(ours.expect("digests"), theirs.expect("digests"));
    from.ownership().commit(key, &plan, 1).await.expect("commit");
    let Outcome::Committed(proof) = from.ownership().outcome(key, &plan).await.expect("a row") else { panic!() };
    to.ownership().open(key, &proof).await.expect("open");
    to.ownership().open(key, &proof).await.expect("a repeat changes nothing");
}

async fn spend<E: Engine>(db: &Db<E>, key: &UserKey) -> bool {
    let owned = key.clone();
    let request = plain(key);
    let ended = db.fenced(&request, move |tx| {
        Box::pin(async move {
            super::add(tx, owned, 1, 1).await?;
            Work::Ok(tx.emit(OutboxEvent::new("suite.spent", b"x")).await?)
        })
    });
    match ended.await {
        Ok(()) => true,
        Err(TxError::Refused(Refusal::WrongCell { .. } | Refusal::Moving)) => false,
        Err(error) => panic!("{error}"),
    }
}

/// A → B → A: exactly one cell serves at every step, data and undelivered events come along, nothing is purged that
/// is somebody's home, and late repeats of old steps change nothing.
pub async fn a_user_moves_there_and_back<F: Factory>(factory: &F) {
    let (_places, [ours, theirs]) = cells(factory).await;
    let key = key_of(&here(), 0);
    for expected in 1..=3 {
        assert!(spend(&ours, &key).await && !spend(&theirs, &key).await);
        assert_eq!(items(&ours, &key).await, [(1, expected)]);
    }
    carry(1, &ours, &theirs, &key, 0).await;
    assert!(spend(&theirs, &key).await && !spend(&ours, &key).await);
    assert_eq!(items(&theirs, &key).await, [(1, 4)]);
    let delivered = theirs.outbox(Stream::Events).next_batch(0, 10).await.expect("rows");
    let order: Vec<_> = delivered.iter().map(|row| (row.user_epoch.get(), row.sequence)).collect();
    assert_eq!(order, [(0, 1), (0, 2), (0, 3), (1, 1)], "undelivered events came along, in order");
    assert_eq!(ours.outbox(Stream::Events).next_batch(0, 10).await.expect("rows"), []);
    let away = ours.ownership().rows(&key).await.expect("rows").away.expect("the bucket's home knows");
    assert_eq!((away.cell, away.epoch), (there(), UserEpoch::new(1)));
    let told = theirs.outbox(Stream::Ownership).next_batch(0, 10).await.expect("rows");
    let (whose, publication) = published(&told[0]).expect("a publication");
    assert_eq!((whose, publication.epoch, publication.pin), (key.clone(), UserEpoch::new(1), true));

    // The purge at A is due, but the user comes back first: the move back finishes it.
    carry(2, &theirs, &ours, &key, 1).await;
    assert!(spend(&ours, &key).await && !spend(&theirs, &key).await);
    assert_eq!(items(&ours, &key).await, [(1, 5)]);
    assert_eq!(ours.ownership().rows(&key).await.expect("rows").away, None, "home again");
    let late = ours.ownership().purge(&key, UserEpoch::new(1), participants()).await;
    assert!(matches!(late, Err(StepError::Refused(MoveRefused::NotLeftBehind { .. }))), "{late:?}");
    let late = ours.ownership().commit(&key, &plan(1, &ours, &theirs, 0), 1).await;
    assert!(late.is_err(), "the first move is long over");
    assert!(theirs.ownership().purge(&key, UserEpoch::new(2), participants()).await.expect("left behind") > 0);
    assert_eq!(items(&theirs, &key).await, []);
    assert_eq!(items(&ours, &key).await, [(1, 5)]);
}

/// An aborted move uses up its epoch, gives the events back, and leaves the target closed.
pub async fn an_aborted_move_leaves_the_user_at_home<F: Factory>(factory: &F) {
    let (_places, [ours, theirs]) = cells(factory).await;
    let key = key_of(&here(), 0);
    assert!(spend(&ours, &key).await);
    let plan = plan(1, &ours, &theirs, 0);
    ours.ownership().claim(&key, &plan, 1).await.expect("claim");
    theirs.ownership().prepare(&key, &plan, 1, participants()).await.expect("prepare");
    ours.ownership().freeze(&key, &plan, 1).await.expect("freeze");
    copy(&ours, &theirs, &key, &plan, 1).await.expect("copy");
    assert!(!spend(&ours, &key).await && !spend(&theirs, &key).await, "frozen");
    ours.ownership().abort(&key, &plan, 1).await.expect("abort");
    let Outcome::Aborted(proof) = ours.ownership().outcome(&key, &plan).await.expect("a row") else { panic!() };
    theirs.ownership().end_import(&key, &proof).await.expect("end");
    assert_eq!(theirs.outbox(Stream::Events).next_batch(0, 10).await.expect("rows"), []);
    assert_eq!(ours.outbox(Stream::Events).next_batch(0, 10).await.expect("rows").len(), 1, "taken back");
    let refused = copy(&ours, &theirs, &key, &plan, 1).await;
    assert_eq!(refused, Err(MoveRefused::NotImporting), "a late copier");
    theirs.ownership().purge(&key, plan.next(), participants()).await.expect("left behind");
    assert_eq!(items(&theirs, &key).await, []);
    assert!(spend(&ours, &key).await && !spend(&theirs, &key).await);
    assert_eq!(ours.ownership().rows(&key).await.expect("rows").user.expect("a row").epoch, UserEpoch::new(1));
}

/// A new attempt takes over from one that sleeps; when that wakes, none of its steps does anything.
pub async fn a_late_attempt_changes_nothing<F: Factory>(factory: &F) {
    let (_places, [ours, theirs]) = cells(factory).await;
    let key = key_of(&here(), 0);
    assert!(spend(&ours, &key).await);
    let plan = plan(1, &ours, &theirs, 0);
    ours.ownership().claim(&key, &plan, 1).await.expect("claim");
    theirs.ownership().prepare(&key, &plan, 1, participants()).await.expect("prepare");
    let found = ours.ownership().takeover(&key, &plan, 2).await.expect("takeover");
    assert_eq!(found, Progress::Claimed);
    theirs.ownership().prepare(&key, &plan, 2, participants()).await.expect("prepare again");
    assert_eq!(copy(&ours, &theirs, &key, &plan, 1).await, Err(MoveRefused::NotImporting));
    for ended in [
        ours.ownership().freeze(&key, &plan, 1).await,
        ours.ownership().commit(&key, &plan, 1).await,
        ours.ownership().abort(&key, &plan, 1).await,
    ] {
        assert!(matches!(ended, Err(StepError::Refused(MoveRefused::Superseded { .. }))), "{ended:?}");
    }
    copy(&ours, &theirs, &key, &plan, 2).await.expect("copy");
    ours.ownership().freeze(&key, &plan, 2).await.expect("freeze");
    assert!(spend(&ours, &key).await == spend(&theirs, &key).await, "nobody serves");
}

/// A whole bucket moves: it flips only when nobody is left, carries what is known of users elsewhere, and mints in
/// its new home.
pub async fn a_bucket_moves_when_it_is_empty<F: Factory>(factory: &F) {
    let (_places, [ours, theirs]) = cells(factory).await;
    let resident = key_of(&here(), 0);
    let bucket = BucketId::of(&resident);
    let gz = cell_map::CellId::new("gz-1").expect("a name");
    assert!(spend(&ours, &resident).await);
    let mut others = (0..).map(|n| UserKey::from_text(&format!("other-{n}")).expect("a key"));
    let elsewhere = others.find(|key| BucketId::of(key) == bucket).expect("there is one");
    set_user(&ours, &elsewhere, UserState::MovedTo { cell: gz.clone() }, 4).await;

    let plan = BucketMove::new(MoveId(9), here(), there(), BucketEpoch::new(1), false).expect("two cells");
    ours.ownership().begin_bucket(bucket, &plan, 1).await.expect("begin");
    assert!(spend(&ours, &resident).await, "a user with data is served while the bucket moves");
    assert_eq!(ours.ownership().bucket_residents(bucket).await.expect("a scan"), (vec![resident.clone()], 0));
    let ended = ours.ownership().flip_bucket(bucket, &plan, 1).await;
    assert!(matches!(ended, Err(StepError::Refused(BucketRefused::Inhabited(left))) if left.rowless_with_data == 1));
    carry(1, &ours, &theirs, &resident, 0).await;
    let flipped = ours.ownership().flip_bucket(bucket, &plan, 1).await.expect("nobody is left");
    let known = ours.ownership().bucket_whereabouts(bucket, None, 100).await.expect("rows");
    assert_eq!(known.len(), 2, "{known:?}");
    for (key, away) in known {
        theirs.ownership().copy_away(&key, &flipped, away).await.expect("copy");
    }
    theirs.ownership().open_bucket(bucket, &flipped).await.expect("open");
    let row = theirs.ownership().bucket_row(bucket).await.expect("a row");
    assert_eq!((row.state, row.epoch), (BucketState::Home, BucketEpoch::new(2)));
    let row = ours.ownership().bucket_row(bucket).await.expect("a row");
    assert_eq!((row.state, row.epoch), (BucketState::Gone { to: there() }, BucketEpoch::new(2)));
    assert!(spend(&theirs, &resident).await && !spend(&ours, &resident).await);
    let rows = theirs.ownership().rows(&elsewhere).await.expect("rows");
    assert_eq!(rows.away.expect("copied").cell, gz);
    assert_eq!(
        theirs.ownership().rows(&resident).await.expect("rows").away,
        None,
        "a row that names itself is skipped"
    );
}

/// A user who comes back to the source between the flip and the copy is known to the target.
pub async fn a_return_between_flip_and_copy_is_not_lost<F: Factory>(factory: &F) {
    let (_places, [ours, theirs]) = cells(factory).await;
    let user = key_of(&here(), 0);
    let bucket = BucketId::of(&user);
    assert!(spend(&ours, &user).await);
    let plan = BucketMove::new(MoveId(9), here(), there(), BucketEpoch::new(1), false).expect("two cells");
    ours.ownership().begin_bucket(bucket, &plan, 1).await.expect("begin");
    carry(1, &ours, &theirs, &user, 0).await;
    let flipped = ours.ownership().flip_bucket(bucket, &plan, 1).await.expect("nobody is left");
    carry(2, &theirs, &ours, &user, 1).await;
    for (key, known) in ours.ownership().bucket_whereabouts(bucket, None, 100).await.expect("rows") {
        theirs.ownership().copy_away(&key, &flipped, known).await.expect("copy");
    }
    theirs.ownership().open_bucket(bucket, &flipped).await.expect("open");
    assert!(spend(&ours, &user).await && !spend(&theirs, &user).await, "one home, and it is where the user is");
    let away = theirs.ownership().rows(&user).await.expect("rows").away.expect("copied or written by the commit");
    assert_eq!((away.cell, away.epoch), (here(), UserEpoch::new(2)));
}

/// A publication finds the bucket's home, which learns where the user lives; an old one teaches nothing.
pub async fn the_buckets_home_learns_publications<F: Factory>(factory: &F) {
    let (_places, [ours, theirs]) = cells(factory).await;
    let key = key_of(&here(), 0);
    let gz = cell_map::CellId::new("gz-1").expect("a name");
    let publication =
        |epoch| cell_map::ownership::Publication { cell: gz.clone(), epoch: UserEpoch::new(epoch), pin: true };
    let asked = theirs.ownership().learn(&key, &publication(5), BucketEpoch::ZERO).await.expect("an answer");
    assert_eq!(asked, AwayStep::Follow { to: here(), epoch: BucketEpoch::new(1) });
    let learnt = ours.ownership().learn(&key, &publication(5), BucketEpoch::new(1)).await.expect("an answer");
    assert!(matches!(learnt, AwayStep::Here(Step::Write(_))), "{learnt:?}");
    let late = ours.ownership().learn(&key, &publication(4), BucketEpoch::new(1)).await.expect("an answer");
    assert_eq!(late, AwayStep::Here(Step::Unchanged));
    assert_eq!(ours.ownership().rows(&key).await.expect("rows").away.expect("a row").epoch, UserEpoch::new(5));
    assert!(!spend(&ours, &key).await);
}

/// A refusal, or a decision that would delete a user's row, changes nothing.
pub async fn a_refused_step_changes_nothing<F: Factory>(factory: &F) {
    let (place, db) = database(factory).await;
    let key = key_of(&here(), 0);
    set_user(&db, &key, UserState::Home, 1).await;
    let before = db.ownership().rows(&key).await.expect("rows");
    let ended = db.user_step(&key, nobody(), |_, _| Err::<Change<()>, _>(SuiteError)).await;
    assert!(matches!(ended, Err(StepError::Refused(SuiteError))), "{ended:?}");
    let ended = db.user_step(&key, nobody(), |_, rows| {
        let rows = KeyRows { user: None, ..KeyRows::clone(rows) };
        let publish = Some(cell_map::ownership::Publication { cell: here(), epoch: UserEpoch::new(3), pin: true });
        Ok::<_, SuiteError>(Change { publish, ..Change::new(rows, ()) })
    });
    let ended = ended.await;
    assert!(matches!(ended, Err(StepError::Storage(_))), "{ended:?}");
    assert_eq!(db.ownership().rows(&key).await.expect("rows"), before);
    assert_eq!(number(&db, "SELECT COUNT(*) FROM outbox").await, 0);
    put(&db, &key, 1, 1).await.expect("home");
    db.close().await;
    let again = another(factory, &place).await;
    assert_eq!(again.ownership().rows(&key).await.expect("rows"), before);
}
