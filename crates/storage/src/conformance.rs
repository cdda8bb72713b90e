//! What every engine must do, as tests that are generic over it.
//!
//! An engine passes when [`conformance_suite!`](crate::conformance_suite) over its [`Factory`] passes. Each function
//! is one promise; those with random schedules print their seed and take `CELLMESH_SEED` to repeat one.
//! `CELLMESH_SOAK=1` raises the numbers to those of a dedicated run.

pub mod cancel;
pub mod copies;
pub mod fence;
pub mod group;
pub mod idempotency;
pub mod migrate;
pub mod outbox;
pub mod paging;
pub mod positions;
pub mod registration;
pub mod steps;
pub mod transaction;
pub mod user_data;

use crate::{BoxFuture, Db, Engine, FenceRequest, Migration, Settings, StorageError, Tx, TxError, WorkError};
use cell_map::{Cell, CellId, CellMap, Incarnation, MapDraft, OwnerEpochs, RegionId, UserKey};

/// How the suite gets databases of one engine.
pub trait Factory: Send + Sync + 'static {
    /// The engine.
    type Engine: Engine;
    /// One empty database; it disappears with this value.
    type Place: Send + Sync;

    /// DDL of the suite's tables in the engine's dialect:
    /// `suite_account(user_key bytes, item integer, amount integer CHECK (amount >= 0), PRIMARY KEY (user_key, item))`,
    /// `suite_note(user_key bytes, note_id text, body text, picture bytes, weight double, PRIMARY KEY (user_key, note_id))`
    /// whose last three columns may be null, `suite_profile(user_key bytes PRIMARY KEY, name text)`, and `suite_shared(id integer PRIMARY KEY, value integer)`.
    const TABLES: &'static str;

    /// A new empty database.
    fn create(&self) -> impl Future<Output = Self::Place> + Send;

    /// Opens it as one process would. Opened twice, it is used by two.
    fn open(
        &self,
        place: &Self::Place,
        settings: Settings,
        migrations: &[Migration],
    ) -> impl Future<Output = Result<Db<Self::Engine>, StorageError>> + Send;
}

/// The service error of the suite's transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the suite's own error")]
pub struct SuiteError;

/// Result of work inside a transaction.
pub type Work<T> = Result<T, WorkError<SuiteError>>;

/// The name of the suite's first cell.
pub fn here() -> CellId {
    CellId::new("bj-1").expect("a cell name")
}

/// The name of the suite's other cell.
pub fn there() -> CellId {
    CellId::new("sh-1").expect("a cell name")
}

/// A map of both cells with even shares.
pub fn map() -> CellMap {
    draft().build().expect("a valid map")
}

/// The draft of [`map`].
pub fn draft() -> MapDraft {
    let region = |name: &str| RegionId::new(name).expect("a region name");
    let mut draft = MapDraft::new(Incarnation::new(1));
    for (cell, at) in [(here(), "beijing"), (there(), "shanghai")] {
        draft.add_cell(Cell::new(cell, region(at))).expect("two cells fit");
    }
    draft.set_global_cell(&here());
    draft.spread_buckets().expect("both cells take users");
    draft
}

/// The `n`th key whose bucket is at home, and not reserved, in `cell`.
pub fn key_of(cell: &CellId, n: usize) -> UserKey {
    let map = map();
    let keys = (0..).map(|i| UserKey::from_text(&format!("user-{i}")).expect("a key"));
    let mut ours = keys.filter(|key| {
        let home = map.home(key.as_bytes());
        home.cell.id == *cell && !map.is_reserved(home.bucket)
    });
    ours.nth(n).expect("there are always more")
}

/// The suite's own migrations.
pub fn migrations<F: Factory>() -> Vec<Migration> {
    vec![Migration { module: "suite", version: 1, name: "tables of the suite", sql: F::TABLES }]
}

/// Settings of the suite: short limits, so that what hangs fails soon.
pub fn settings() -> Settings {
    Settings::new(here())
}

/// A new database of the first cell with tables and ownership rows.
pub async fn database<F: Factory>(factory: &F) -> (F::Place, Db<F::Engine>) {
    let place = factory.create().await;
    let db = another(factory, &place).await;
    db.bootstrap_ownership(&map(), &here()).await.expect("bootstrap");
    (place, db)
}

/// The same database as another process would open it.
pub async fn another<F: Factory>(factory: &F, place: &F::Place) -> Db<F::Engine> {
    factory.open(place, settings(), &migrations::<F>()).await.expect("open")
}

/// Asks as a caller that knows no epochs.
pub fn plain(key: &UserKey) -> FenceRequest<'_> {
    FenceRequest { key, asked: OwnerEpochs::ZERO }
}

/// Adds to an item of an account, making it if needed. The statement pair that every service knows.
pub fn add<E: Engine>(tx: &mut Tx<E>, key: UserKey, item: i64, amount: i64) -> BoxFuture<'_, Work<()>> {
    Box::pin(async move {
        let update = "UPDATE suite_account SET amount = amount + ? WHERE user_key = ? AND item = ?";
        let changed = tx.execute(update, vec![amount.into(), key.as_bytes().into(), item.into()]).await?;
        if changed == 0 {
            let insert = "INSERT INTO suite_account (user_key, item, amount) VALUES (?, ?, ?)";
            tx.execute(insert, vec![key.as_bytes().into(), item.into(), amount.into()]).await?;
        }
        Ok(())
    })
}

/// [`add`] in a fenced transaction of its own.
pub async fn put<E: Engine>(db: &Db<E>, key: &UserKey, item: i64, amount: i64) -> Result<(), TxError<SuiteError>> {
    let owned = key.clone();
    db.fenced(&plain(key), move |tx| add(tx, owned, item, amount)).await
}

/// All items of an account, read without a fence: the test's own view of the truth.
pub async fn items<E: Engine>(db: &Db<E>, key: &UserKey) -> Vec<(i64, i64)> {
    let key = key.clone();
    let read = db.global_read(move |tx| {
        Box::pin(async move {
            let sql = "SELECT item, amount FROM suite_account WHERE user_key = ? ORDER BY item";
            let rows = tx.query(sql, vec![key.as_bytes().into()]).await?;
            let items = rows.into_iter().map(|mut row| Ok((row.integer()?, row.integer()?)));
            Ok::<Vec<_>, WorkError<SuiteError>>(items.collect::<Result<_, StorageError>>()?)
        })
    });
    read.await.expect("a plain read")
}

/// One number from a query.
pub async fn number<E: Engine>(db: &Db<E>, sql: &'static str) -> i64 {
    let read = db.global_read(move |tx| {
        Box::pin(async move {
            let row = tx.query(sql, vec![]).await?.pop();
            let number = row.map(|mut row| row.integer()).transpose()?;
            Ok::<_, WorkError<SuiteError>>(number)
        })
    });
    read.await.expect("a plain read").expect("one row")
}

/// Whether this is a dedicated run with large numbers.
pub fn soak() -> bool {
    std::env::var_os("CELLMESH_SOAK").is_some()
}

/// A generator whose seed is printed, so that a failure can be repeated with `CELLMESH_SEED`.
pub fn seeded(test: &str) -> rand::rngs::StdRng {
    let seed = std::env::var("CELLMESH_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(rand::random);
    println!("{test}: CELLMESH_SEED={seed}");
    rand::SeedableRng::seed_from_u64(seed)
}

/// Makes one test of each promise for an engine: `conformance_suite!(MyFactory);`.
#[macro_export]
macro_rules! conformance_suite {
    ($factory:expr) => {
        $crate::conformance_suite! { @each $factory;
            transaction: [
                errors_and_panics_roll_back, work_that_hangs_is_rolled_back_in_time, a_commit_survives_its_caller,
                a_caller_that_left_the_queue_changes_nothing, a_read_sees_one_snapshot, a_read_cannot_write,
                readers_do_not_wait_for_a_writer, writers_take_turns, acknowledged_writes_survive_a_reopening,
                nothing_commits_by_itself_after_a_failure, the_observer_hears_of_each_transaction_once,
                a_closed_database_refuses,
            ]
            copies: [
                a_new_writer_begins_a_later_history, a_writer_that_missed_another_begins_a_later_history, a_batch_is_taken_only_where_it_fits, no_position_is_taken_twice,
            ]
            fence: [
                home_is_served_and_elsewhere_is_named, a_missing_bucket_row_refuses, newer_epochs_are_told_to_wait,
                several_are_fenced_one_by_one_in_one_snapshot,
                the_first_rows_are_those_of_the_map, the_first_rows_hold_the_maps_pins,
                a_half_bootstrapped_database_is_refused, two_processes_bootstrap_once,
                a_freeze_waits_for_running_transactions, a_transaction_waits_for_a_running_freeze,
                a_read_is_fenced_in_its_own_snapshot, a_moving_bucket_serves_only_users_with_data,
                each_state_is_answered_as_the_table_says,
            ]
            group: [each_of_a_group_has_the_fate_it_was_told, a_freeze_splits_those_that_wait]
            idempotency: [
                a_repetition_is_answered_from_the_first, another_body_is_a_conflict, failures_are_not_remembered,
                of_many_duplicates_one_runs, duplicates_of_two_processes_run_once, keys_belong_to_user_and_method,
                expired_answers_are_swept, the_fence_comes_before_the_answer, an_unknown_outcome_is_known_by_repeating,
            ]
            outbox: [
                events_share_the_fate_of_their_transaction, sequences_have_no_gaps, delivered_rows_are_kept_then_swept,
                a_handed_row_is_not_marked_done, streams_do_not_mix, commits_with_events_wake_the_dispatcher,
            ]
            paging: [pages_neither_repeat_nor_skip, a_token_opens_for_its_own_list_only]
            positions: [
                each_committed_write_counts_one, a_read_tells_where_its_snapshot_stands, positions_have_no_gaps,
                a_new_home_goes_on_counting, the_observer_hears_where_a_user_stands,
                a_users_watchers_hear_of_his_commits_alone, what_others_commit_is_not_overlooked,
            ]
            registration: [
                a_drawn_key_is_fenced_and_stored_once, buckets_that_may_not_mint_are_drawn_past,
                known_keys_are_drawn_past, without_a_free_key_there_is_no_home, a_repetition_gives_the_same_user,
            ]
            steps: [
                a_user_moves_there_and_back, an_aborted_move_leaves_the_user_at_home, a_late_attempt_changes_nothing,
                a_bucket_moves_when_it_is_empty, a_return_between_flip_and_copy_is_not_lost, the_buckets_home_learns_publications, a_refused_step_changes_nothing,
            ]
            user_data: [
                an_export_imports_into_equal_data, importing_twice_is_importing_once, a_purge_leaves_other_users_alone,
                a_forgotten_table_is_found, undelivered_events_move_with_their_user,
            ]
            migrate: [
                migrations_are_applied_once, an_edited_migration_is_refused, a_failed_migration_leaves_nothing,
                gaps_are_refused, two_processes_migrate_once, another_cells_database_is_refused,
            ]
            cancel: [cancelled_calls_poison_no_connection, abandoned_leases_are_repaired]
        }
    };
    (@each $factory:expr; $($module:ident: [$($test:ident),* $(,)?])*) => {
        $(mod $module {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
                async fn $test() {
                    $crate::conformance::$module::$test(&$factory).await;
                }
            )*
        })*
    };
}
