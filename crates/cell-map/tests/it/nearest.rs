use crate::support::{cell, cell_id, region};
use cell_map::{BucketId, Cell, CellMap, CellState, Incarnation, MapDraft};
use std::{collections::BTreeMap, time::Duration};

/// Two cells in the north of weights 1 and 3, one in the south 10 ms away, one on an island of unknown distance.
fn draft() -> MapDraft {
    let mut draft = MapDraft::new(Incarnation::new(1));
    for (id, at, weight) in [("n-1", "north", 1), ("n-2", "north", 3), ("s-1", "south", 9), ("i-1", "island", 99)] {
        draft.add_cell(Cell { weight, ..cell(id, at) }).unwrap();
    }
    draft.set_distance(&region("south"), &region("north"), Duration::from_millis(10)).unwrap();
    draft.set_distance(&region("east"), &region("south"), Duration::from_millis(5)).unwrap();
    draft.set_global_cell(&cell_id("n-1")).spread_buckets().unwrap();
    draft
}

fn nearest<'a>(map: &'a CellMap, from: &str) -> Option<&'a str> {
    map.nearest_cell(&region(from)).map(|cell| cell.id.as_str())
}

#[test]
fn nearest_cell_is_of_the_own_region_then_by_distance_then_by_weight() {
    let map = draft().build().unwrap();
    assert_eq!(nearest(&map, "north"), Some("n-2"));
    assert_eq!(nearest(&map, "south"), Some("s-1"));
    assert_eq!(nearest(&map, "east"), Some("s-1"), "a region without cells has distances too");
    assert_eq!(nearest(&map, "nowhere"), Some("i-1"), "of equally unknown ones the heaviest");
    assert_eq!(map.distance(&region("north"), &region("south")), Some(Duration::from_millis(10)));
    assert_eq!(map.distance(&region("north"), &region("north")), Some(Duration::ZERO));
    assert_eq!(map.distance(&region("north"), &region("island")), None);
}

#[test]
fn equal_weights_are_decided_by_name_whatever_the_order() {
    for names in [["b", "a"], ["a", "b"]] {
        let mut draft = MapDraft::new(Incarnation::new(1));
        names.iter().for_each(|name| drop(draft.add_cell(cell(name, "north"))));
        draft.set_global_cell(&cell_id("b")).spread_buckets().unwrap();
        assert_eq!(nearest(&draft.build().unwrap(), "north"), Some("a"));
    }
}

#[test]
fn draining_cells_are_nobodys_nearest() {
    let mut draft = draft();
    let mut drain = |id: &str| {
        draft.set_cell_state(&cell_id(id), CellState::Draining).unwrap();
        draft.clone().build().unwrap()
    };
    assert_eq!(nearest(&drain("n-2"), "north"), Some("n-1"));
    assert_eq!(nearest(&drain("n-1"), "north"), Some("s-1"));
    drain("s-1");
    let none = drain("i-1");
    assert_eq!(nearest(&none, "north"), None);
    assert_eq!(none.cell_for_new_user(&region("north"), 0), None);
}

#[test]
fn new_users_are_shared_by_weight_among_the_nearest() {
    let map = draft().build().unwrap();
    let mut count = BTreeMap::new();
    for number in 0..4000_u64 {
        let draw = number * (u64::MAX / 4000) + u64::MAX / 8000;
        *count.entry(map.cell_for_new_user(&region("north"), draw).unwrap().id.as_str()).or_insert(0) += 1;
    }
    assert_eq!(count, BTreeMap::from([("n-1", 1000), ("n-2", 3000)]));
    assert_eq!(map.cell_for_new_user(&region("north"), u64::MAX).map(|cell| cell.id.as_str()), Some("n-2"));
}

#[test]
fn new_users_avoid_cells_without_weight_or_mintable_buckets() {
    let mut draft = draft();
    draft.set_cell(Cell { weight: 0, ..cell("n-1", "north") }).unwrap();
    let map = draft.clone().build().unwrap();
    assert_eq!(map.cell_for_new_user(&region("north"), 0).map(|cell| cell.id.as_str()), Some("n-2"));
    for bucket in BucketId::all().filter(|bucket| map.bucket_home(*bucket).id.as_str() == "n-2") {
        draft.set_reserved(bucket, true);
    }
    let map = draft.build().unwrap();
    assert_eq!(map.cell_for_new_user(&region("north"), 0).map(|cell| cell.id.as_str()), Some("s-1"));
}
