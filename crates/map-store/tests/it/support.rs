//! Maps to store.

use cell_map::{Cell, CellId, CellMap, Incarnation, MapDraft, UserEpoch, UserKey};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};
use tempfile::TempDir;

pub fn cell_id(name: &str) -> CellId {
    name.parse().unwrap()
}

/// Version 1, with two cells.
pub fn first() -> CellMap {
    let mut draft = MapDraft::new(Incarnation::new(1));
    for (id, region) in [("bj-1", "beijing"), ("sh-1", "shanghai")] {
        draft.add_cell(Cell::new(cell_id(id), region.parse().unwrap())).unwrap();
    }
    draft.set_distance(&"beijing".parse().unwrap(), &"shanghai".parse().unwrap(), Duration::from_millis(30)).unwrap();
    draft.set_global_cell(&cell_id("bj-1")).spread_buckets().unwrap();
    draft.build().unwrap()
}

/// The version after `map`, in which `user` is pinned to sh-1.
pub fn after(map: &CellMap, user: &str) -> CellMap {
    let mut next = map.next();
    next.pin(UserKey::from_text(user).unwrap(), &cell_id("sh-1"), UserEpoch::new(map.epoch().get())).unwrap();
    next.build().unwrap()
}

/// The version after `map` as the first of another history.
pub fn other_history(map: &CellMap) -> CellMap {
    let mut next = map.next();
    next.begin_incarnation(map.incarnation().next()).unwrap();
    next.build().unwrap()
}

/// A path in a folder that lasts as long as the guard.
pub fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("map.pb");
    (folder, path)
}

pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}.{suffix}", path.display()))
}
