//! Positions of data that one cell writes and others copy.

use super::{Factory, SuiteError, Work, migrations, settings};
use crate::{BoxFuture, Db, Engine, Migration, Positions, Tx, TxError, WorkError};
use replication::{Batch, Position, ReplicationError, Standing};
use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

const TABLE: Migration = Migration {
    module: "positions",
    version: 1,
    name: "a position",
    sql: "CREATE TABLE suite_position (id BIGINT PRIMARY KEY, incarnation BIGINT NOT NULL, sequence BIGINT NOT NULL,
            writer BIGINT NOT NULL)",
};
const POSITIONS: Positions = Positions::new("suite_position");

impl From<ReplicationError> for SuiteError {
    fn from(_: ReplicationError) -> Self {
        Self
    }
}

const fn at(incarnation: u64, sequence: u64) -> Position {
    Position { incarnation, sequence }
}

/// A database whose clock is the test's.
async fn open<F: Factory>(factory: &F, place: &F::Place) -> (Db<F::Engine>, Arc<AtomicI64>) {
    let now = Arc::new(AtomicI64::new(1_000));
    let mut settings = settings();
    let clock = Arc::clone(&now);
    settings.clock = Arc::new(move || clock.load(Ordering::Relaxed));
    let mut all = migrations::<F>();
    all.push(TABLE);
    (factory.open(place, settings, &all).await.expect("open"), now)
}

async fn run<E: Engine, T: Send + 'static>(
    db: &Db<E>,
    work: impl for<'t> FnOnce(&'t mut Tx<E>) -> BoxFuture<'t, Work<T>> + Send + 'static,
) -> T {
    db.global(work).await.unwrap_or_else(|error: TxError<SuiteError>| panic!("{error}"))
}

async fn begin<E: Engine>(db: &Db<E>) -> Position {
    run(db, |tx| Box::pin(async move { Ok(POSITIONS.begin_history(tx, 0).await?) })).await
}

async fn next<E: Engine>(db: &Db<E>) -> Position {
    run(db, |tx| Box::pin(async move { Ok(POSITIONS.next(tx).await?) })).await
}

async fn end<E: Engine>(db: &Db<E>) -> Option<Position> {
    POSITIONS.follow_from(db).await.expect("a position")
}

async fn standing<E: Engine>(db: &Db<E>) -> Option<Standing> {
    run(db, |tx| Box::pin(async move { Ok(POSITIONS.standing(tx).await?) })).await
}

/// Whether a batch was taken.
async fn advance<E: Engine>(db: &Db<E>, base: Position, position: Position, replace: bool) -> bool {
    let batch = Batch::<()> { base, position, replace, items: vec![] };
    let work = db.global(move |tx| Box::pin(async move { POSITIONS.advance::<_, _, SuiteError>(tx, &batch).await }));
    match work.await {
        Ok(()) => true,
        Err(TxError::Business(SuiteError)) => false,
        Err(error) => panic!("{error}"),
    }
}

/// Whoever begins to write, again or for the first time, begins a later history in which the sequences go on.
pub async fn a_new_writer_begins_a_later_history<F: Factory>(factory: &F) {
    let place = factory.create().await;
    let (db, now) = open(factory, &place).await;
    assert_eq!((standing(&db).await, end(&db).await), (None, None));
    assert_eq!((begin(&db).await, next(&db).await, next(&db).await), (at(1_000, 0), at(1_000, 1), at(1_000, 2)));
    now.store(8_000, Ordering::Relaxed);
    assert_eq!(begin(&db).await, at(8_000, 2), "after a restart");

    assert_eq!(end(&db).await, Some(at(8_000, 2)));
    assert_eq!(standing(&db).await, Some(Standing { position: at(8_000, 2), writer: false }));
    now.store(9_000, Ordering::Relaxed);
    assert_eq!(next(&db).await, at(9_000, 3), "a write begins one too");
    now.store(2_000, Ordering::Relaxed);
    assert_eq!(begin(&db).await, at(9_001, 3), "whatever its clock says");
    let later = db.global(|tx| {
        Box::pin(async move { Ok::<_, WorkError<SuiteError>>(POSITIONS.begin_history(tx, 9_500).await?) })
    });
    assert_eq!(later.await.expect("begun"), at(9_501, 3), "later than others have seen");
}

/// The writer's role went to another cell and came back while this one was away: followers, who go back to no older
/// history, are told a later one than either cell wrote in between.
pub async fn a_writer_that_missed_another_begins_a_later_history<F: Factory>(factory: &F) {
    let (place, other_place) = (factory.create().await, factory.create().await);
    let (db, now) = open(factory, &place).await;
    begin(&db).await;
    let last = next(&db).await;
    drop(db);

    let (other, other_now) = open(factory, &other_place).await;
    assert!(advance(&other, at(0, 0), last, true).await, "followed while the first one wrote");
    other_now.store(5_000, Ordering::Relaxed);
    begin(&other).await;
    let theirs = next(&other).await;

    now.store(9_000, Ordering::Relaxed);
    let (db, now) = open(factory, &place).await;
    now.store(9_000, Ordering::Relaxed);
    let ours = begin(&db).await;
    assert!(ours.incarnation > theirs.incarnation, "{ours:?} is no later history than {theirs:?}");
}

/// A position moves with batches that fit, and with nothing else.
pub async fn a_batch_is_taken_only_where_it_fits<F: Factory>(factory: &F) {
    let place = factory.create().await;
    let (db, _now) = open(factory, &place).await;
    assert!(advance(&db, at(0, 0), at(7_000, 5), true).await, "the first snapshot");
    assert!(advance(&db, at(7_000, 5), at(7_000, 6), false).await, "the next change");
    for (base, sequence, replace) in [(5, 6, false), (5, 7, false), (0, 5, true)] {
        assert!(!advance(&db, at(7_000, base), at(7_000, sequence), replace).await, "{base} to {sequence}");
    }
    assert_eq!(standing(&db).await, Some(Standing { position: at(7_000, 6), writer: false }));
    begin(&db).await;
    assert!(!advance(&db, at(7_000, 6), at(7_000, 9), true).await, "a writer follows nobody");
}

/// Changes written at once each get a position of their own.
pub async fn no_position_is_taken_twice<F: Factory>(factory: &F) {
    let place = factory.create().await;
    let (db, _now) = open(factory, &place).await;
    begin(&db).await;
    let (other, _now) = open(factory, &place).await;
    let taken = futures_util::future::join_all((0..20).map(|n| next(if n % 2 == 0 { &db } else { &other }))).await;
    let mut sequences: Vec<u64> = taken.into_iter().map(|position| position.sequence).collect();
    sequences.sort_unstable();
    assert_eq!(sequences, (1..=20).collect::<Vec<_>>());
}
