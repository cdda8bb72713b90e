//! Maps to test with.

use cell_map::{BucketId, Cell, CellId, CellMap, CellState, Incarnation, MapDraft, RegionId, UserEpoch, UserKey};
use proptest::{
    prelude::*,
    test_runner::{RngSeed, TestRunner},
};
use std::{collections::BTreeMap, fmt, hash::BuildHasher};

/// Runs `test` on `cases` random inputs and prints the seed; `PROPTEST_RNG_SEED` repeats a run.
pub fn check<S: Strategy>(cases: u32, inputs: S, test: impl Fn(S::Value) -> Result<(), TestCaseError>)
where
    S::Value: fmt::Debug,
{
    let mut config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    if config.rng_seed == RngSeed::Random {
        config.rng_seed = RngSeed::Fixed(std::hash::RandomState::new().hash_one(0));
    }
    println!("repeat with PROPTEST_RNG_SEED={} ({cases} cases)", config.rng_seed);
    if let Err(failure) = TestRunner::new(config).run(&inputs, test) {
        panic!("{failure}");
    }
}

pub fn cell_id(name: &str) -> CellId {
    name.parse().expect("test names are names")
}

pub fn region(name: &str) -> RegionId {
    name.parse().expect("test names are names")
}

pub fn key(text: &str) -> UserKey {
    UserKey::from_text(text).expect("test keys are keys")
}

pub fn cell(id: &str, region_name: &str) -> Cell {
    Cell::new(cell_id(id), region(region_name))
}

/// A draft with one cell a name, the first one global, buckets spread evenly.
pub fn draft(cells: &[(&str, &str)]) -> MapDraft {
    let mut draft = MapDraft::new(Incarnation::new(1));
    for (id, region) in cells {
        draft.add_cell(cell(id, region)).expect("test cells are right");
    }
    draft.set_global_cell(&cell_id(cells[0].0)).spread_buckets().expect("test cells have weight");
    draft
}

pub fn two_cells() -> CellMap {
    draft(&[("bj-1", "beijing"), ("sh-1", "shanghai")]).build().expect("a right map")
}

/// What a random map is made from; also a plain model of it.
#[derive(Clone, Debug)]
pub struct Model {
    /// (weight, draining) of each cell; the first is active and has weight.
    pub cells: Vec<(u32, bool)>,
    /// Buckets that are elsewhere than the layout puts them.
    pub buckets: BTreeMap<u16, usize>,
    /// Reserved bits that differ from the layout's.
    pub reserved: BTreeMap<u16, bool>,
    /// Pins: home (`None`: tombstone) and epoch.
    pub pins: BTreeMap<Vec<u8>, (Option<usize>, u64)>,
}

impl Model {
    pub fn name(cell: usize) -> CellId {
        cell_id(&format!("c-{cell}"))
    }

    /// The map without its pins.
    pub fn base(&self) -> MapDraft {
        let mut draft = MapDraft::new(Incarnation::new(1));
        for (number, (weight, draining)) in self.cells.iter().enumerate() {
            let state = if *draining { CellState::Draining } else { CellState::Active };
            let cell = Cell::new(Self::name(number), region(["north", "south", "west"][number % 3]));
            draft.add_cell(Cell { weight: *weight, state, ..cell }).expect("names differ");
        }
        draft.set_global_cell(&Self::name(0)).spread_buckets().expect("the first cell has weight");
        for (bucket, cell) in &self.buckets {
            draft.set_bucket_cell(BucketId::new(*bucket), &Self::name(*cell)).expect("the cell is there");
        }
        for (bucket, reserved) in &self.reserved {
            draft.set_reserved(BucketId::new(*bucket), *reserved);
        }
        draft
    }

    pub fn build(&self) -> CellMap {
        let mut draft = self.base();
        for (key, (cell, epoch)) in &self.pins {
            let home = cell.map(Self::name);
            draft.add_pin(user_key(key), home.as_ref(), UserEpoch::new(*epoch)).expect("keys differ");
        }
        draft.build().expect("the model is of right maps")
    }
}

pub fn user_key(bytes: &[u8]) -> UserKey {
    UserKey::from_bytes(bytes).expect("models hold keys")
}

/// Keys from a small set, so that they meet, and arbitrary ones.
pub fn any_key() -> impl Strategy<Value = Vec<u8>> {
    let right = |key: &Vec<u8>| UserKey::check(key).is_ok();
    prop_oneof![
        (1..40_u64).prop_map(|n| n.to_string().into_bytes()),
        prop::collection::vec(any::<u8>(), 1..=256).prop_filter("a key", right),
    ]
}

pub fn any_model() -> impl Strategy<Value = Model> {
    let cells = prop::collection::vec((0..5_u32, any::<bool>()), 0..5);
    cells.prop_flat_map(|mut cells| {
        cells.insert(0, (1, false));
        let any_cell = 0..cells.len();
        let pin = (prop::option::weighted(0.8, any_cell.clone()), 1..6_u64);
        (
            Just(cells),
            prop::collection::btree_map(any::<u16>(), any_cell, 0..20),
            prop::collection::btree_map(any::<u16>(), any::<bool>(), 0..20),
            prop::collection::btree_map(any_key(), pin, 0..60),
        )
            .prop_map(|(cells, buckets, reserved, pins)| Model { cells, buckets, reserved, pins })
    })
}
