//! What a lookup costs: 64 cells, 100,000 pins.

use cell_map::{Cell, CellMap, Incarnation, KeyHash, MapDraft, UserEpoch, UserKey};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use std::hint::black_box;

const CELLS: u64 = 64;
const PINS: u64 = 100_000;

/// Ids of the length that minting gives.
fn id(number: u64) -> String {
    format!("{:026}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

fn map(pins: u64) -> CellMap {
    let mut draft = MapDraft::new(Incarnation::new(1));
    let name = |number: u64| format!("c-{number}").parse().expect("a name");
    for number in 0..CELLS {
        draft.add_cell(Cell::new(name(number), "north".parse().expect("a name"))).expect("names differ");
    }
    draft.set_global_cell(&name(0)).spread_buckets().expect("cells have weight");
    for number in 0..pins {
        let key = UserKey::from_text(&id(number)).expect("a key");
        draft.pin(key, &name(number % CELLS), UserEpoch::new(1)).expect("keys differ");
    }
    draft.build().expect("the map is right")
}

fn lookup(criterion: &mut Criterion) {
    let (plain, pinned) = (map(0), map(PINS));
    // One key, so that everything it touches is in the nearest cache.
    let (stranger, known) = (id(PINS + 1), id(1));
    let mut group = criterion.benchmark_group("lookup");
    group.bench_function("hash alone", |b| b.iter(|| KeyHash::of(black_box(stranger.as_bytes()))));
    group.bench_function("hot, no pins in the map", |b| b.iter(|| plain.home_index(black_box(stranger.as_bytes()))));
    group.bench_function("hot, by bucket", |b| b.iter(|| pinned.home_index(black_box(stranger.as_bytes()))));
    group.bench_function("hot, pinned", |b| b.iter(|| pinned.home_index(black_box(known.as_bytes()))));
    group.bench_function("hot, pinned, whole answer", |b| b.iter(|| pinned.home(black_box(known.as_bytes()))));

    // A million keys in turn: the map and the keys come from far caches or from memory.
    for (name, from, step) in [("cold, by bucket", PINS, 1), ("cold, pinned", 0, 61_681)] {
        let all = if from == 0 { PINS } else { 1_000_000 };
        let keys: Vec<String> = (0..all).map(|number| id(from + number * step % all)).collect();
        let mut next = keys.iter().cycle();
        group.bench_function(name, |b| b.iter(|| pinned.home_index(next.next().expect("it cycles").as_bytes())));
    }
    group.finish();
}

fn build(criterion: &mut Criterion) {
    let map = map(PINS);
    let user = UserKey::from_text(&id(PINS + 7)).expect("a key");
    let cell = map.cells()[3].id.clone();
    let next = || {
        let mut next = map.next();
        next.pin(user.clone(), &cell, UserEpoch::new(1)).expect("a new pin");
        next
    };
    let mut group = criterion.benchmark_group("version");
    group.sample_size(20);
    group.bench_function("one more pin", |b| {
        b.iter_batched(next, |next| next.build().expect("the map is right"), BatchSize::SmallInput);
    });
    group.finish();
}

criterion_group!(benches, lookup, build);
criterion_main!(benches);
