//! What the models share.

use cell_map::ownership::{Answer, AwayRow, BucketRow, BucketState, KeyRows, UserRow, answer};
use cell_map::{BucketEpoch, CellId, OwnerEpochs};
use stateright::{Checker, HasDiscoveries, Model};
use std::{hash::Hash, sync::LazyLock};

static NAMES: LazyLock<[CellId; 3]> =
    LazyLock::new(|| ["a", "b", "c"].map(|name| CellId::new(name).expect("a lower-case letter")));

/// The cell with this number.
pub fn cell(number: usize) -> CellId {
    NAMES[number].clone()
}

/// The number of a cell.
pub fn number(cell: &CellId) -> usize {
    NAMES.iter().position(|name| name == cell).expect("a model names its own cells only")
}

/// What one database holds of the model's user: his rows, and his data as the set of writes that it contains.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Db {
    pub rows: KeyRows,
    pub data: u8,
}

impl Db {
    /// Nothing but the bucket's row, at bucket_epoch 1: home in cell `home`.
    pub fn first(me: usize, home: usize) -> Self {
        let state = if me == home { BucketState::Home } else { BucketState::Gone { to: cell(home) } };
        let bucket = BucketRow { state, epoch: BucketEpoch::new(1) };
        Self { rows: KeyRows { bucket, user: None, away: None }, data: 0 }
    }

    /// Persists a user row.
    pub fn put(&mut self, row: Option<UserRow>) {
        if row.is_some() {
            self.rows.user = row;
        }
    }

    /// Persists an `away` row.
    pub fn put_away(&mut self, row: Option<AwayRow>) {
        if row.is_some() {
            self.rows.away = row;
        }
    }

    /// Whether a request is served here.
    pub fn serves(&self, me: usize, asked: OwnerEpochs) -> bool {
        match answer(&cell(me), &self.rows, asked) {
            Answer::Serve { only_with_data, .. } => !only_with_data || self.data != 0,
            _ => false,
        }
    }
}

/// How a request that follows redirects ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Served(usize),
    Moving,
    /// Sent back to a cell with nothing learnt since.
    Loop,
    /// Sent on with lower epochs than it carried, or by a cell to itself.
    Lowered,
}

/// Follows redirects from cell `at`, while nothing else happens. `ask` is what a cell answers.
pub fn follow(
    dbs: &[Db],
    mut at: usize,
    mut asked: OwnerEpochs,
    ask: impl Fn(&CellId, &KeyRows, OwnerEpochs) -> Answer,
) -> End {
    let mut seen = Vec::new();
    loop {
        match ask(&cell(at), &dbs[at].rows, asked) {
            Answer::Serve { .. } => return End::Served(at),
            Answer::Moving => return End::Moving,
            Answer::WrongCell { owner, epochs } => {
                if asked.newer_than(epochs) || number(&owner) == at {
                    return End::Lowered;
                }
                if seen.contains(&(at, asked)) {
                    return End::Loop;
                }
                seen.push((at, asked));
                (at, asked) = (number(&owner), epochs);
            }
        }
    }
}

/// Whether the larger bounds are asked for.
pub fn soak() -> bool {
    std::env::var_os("CELLMESH_SOAK").is_some()
}

/// Explores every state and demands that no property fails.
pub fn holds<M>(name: &str, model: M)
where
    M: Model + Send + Sync + 'static,
    M::State: Hash + Send + Sync + Clone + std::fmt::Debug + PartialEq,
    M::Action: std::fmt::Debug + Clone + PartialEq,
{
    let checker = model.checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    for property in checker.model().properties() {
        let found = checker.discovery(property.name).map(|path| path.into_actions());
        match (property.expectation.discovery_is_failure(), found) {
            (true, Some(steps)) => panic!("{name}: \"{}\" fails after {steps:#?}", property.name),
            (false, None) => panic!("{name}: \"{}\" never happens: the model is too small", property.name),
            _ => {}
        }
    }
    println!("figure: model {name} states N={}", checker.unique_state_count());
}

/// Demands that, with a rule broken, `property` fails.
pub fn breaks<M>(name: &str, model: M, property: &'static str)
where
    M: Model + Send + Sync + 'static,
    M::State: Hash + Send + Sync + Clone + std::fmt::Debug + PartialEq,
    M::Action: std::fmt::Debug + Clone + PartialEq,
{
    let failed = HasDiscoveries::AnyOf([property].into());
    let checker = model.checker().finish_when(failed).spawn_bfs().join();
    let Some(path) = checker.discovery(property) else {
        let others: Vec<_> = checker.discoveries().into_keys().collect();
        panic!("{name}: \"{property}\" holds in {} states; failing: {others:?}", checker.unique_state_count());
    };
    let steps = path.into_actions();
    println!("figure: model {name} counterexample steps N={}: {steps:?}", steps.len());
}
