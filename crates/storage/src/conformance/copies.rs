//! Positions of data that one cell writes and others copy.

use super::{Factory, SuiteError, Work, migrations, settings};
use crate::{BoxFuture, Db, Engine, Migration, Positions, Tx, TxError};
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
    run(db, |tx| Box::pin(async move { Ok(POSITIONS.begin_history(tx).await?) })).await
}

async fn next<E: Engine>(db: &Db<E>) -> Position {
    run(db, |tx| Box::pin(async move { Ok(POSITIONS.next(tx).await?) })).await
}

async fn end<E: Engine>(db: &Db<E>) {
    run(db, |tx| Box::pin(async move { Ok(POSITIONS.end_history(tx).await?) })).await;
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

/// A writer counts on in its history over restarts; a copy that takes over, and a writer that returns, begin a later one.
pub async fn a_new_writer_begins_a_later_history<F: Factory>(factory: &F) {
    let place = factory.create().await;
    let (db, now) = open(factory, &place).await;
    assert_eq!(standing(&db).await, None);
    assert_eq!((begin(&db).await, next(&db).await, next(&db).await), (at(1_000, 0), at(1_000, 1), at(1_000, 2)));
    now.store(9_000, Ordering::Relaxed);
    assert_eq!(begin(&db).await, at(1_000, 2), "a restart goes on with the same history");

    end(&db).await;
    assert_eq!(standing(&db).await, Some(Standing { position: at(1_000, 2), writer: false }));
    assert_eq!(begin(&db).await, at(9_000, 2));
    end(&db).await;
    now.store(2_000, Ordering::Relaxed);
    assert_eq!(begin(&db).await, at(9_001, 2), "whatever its clock says");
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
