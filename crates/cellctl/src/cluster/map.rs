//! The cluster's cell map.

use super::Place;
use anyhow::{Context as _, bail};
use cell_map::{Cell, CellId, CellMap, Guard, Incarnation, MapDraft, RegionId};
use std::path::Path;
use std::time::Duration;

/// Publishes a map of these places, unless the file holds it already. Cells found there keep their buckets and users: only
/// their addresses may change.
pub(super) fn publish(path: &Path, places: &[Place], rtt: Duration) -> anyhow::Result<()> {
    let store = map_store::FileStore::open(path);
    if !path.exists() {
        store.publish(&first(places, rtt)?, None, Guard::default()).context("publishing the first map")?;
        return Ok(());
    }
    let current = store.load().with_context(|| format!("loading the map {}", path.display()))?;
    if let Some(next) = successor(&current, places)? {
        store.publish(&next, Some(current.epoch()), Guard::default()).context("publishing the cells' new addresses")?;
    }
    Ok(())
}

/// The first version: buckets spread evenly, the first cell global.
fn first(places: &[Place], rtt: Duration) -> anyhow::Result<CellMap> {
    let mut draft = MapDraft::new(Incarnation::new(1));
    for place in places {
        draft.add_cell(cell(place)?)?;
    }
    draft.set_global_cell(&CellId::new(&places[0].id)?);
    draft.spread_buckets()?;
    let mut regions: Vec<RegionId> =
        places.iter().map(|place| RegionId::new(&place.region)).collect::<Result<_, _>>()?;
    regions.sort_unstable();
    regions.dedup();
    for (index, a) in regions.iter().enumerate() {
        for b in &regions[index + 1..] {
            draft.set_distance(a, b, rtt)?;
        }
    }
    Ok(draft.build()?)
}

/// The version after `current` with the places' addresses; `None` if it has them already.
fn successor(current: &CellMap, places: &[Place]) -> anyhow::Result<Option<CellMap>> {
    let known: Vec<&str> = current.cells().iter().map(|cell| cell.id.as_str()).collect();
    let wanted: Vec<&str> = places.iter().map(|place| place.id.as_str()).collect();
    if known != wanted {
        bail!(
            "the data folder is that of the cells {}, not {}: choose the same --cells as then, or another --data",
            known.join(", "),
            wanted.join(", ")
        );
    }
    let mut draft = current.next();
    let mut changed = false;
    for (place, known) in places.iter().zip(current.cells()) {
        let (peer_endpoints, front_endpoints) = (vec![place.peer.to_string()], vec![place.front.to_string()]);
        if known.peer_endpoints != peer_endpoints || known.front_endpoints != front_endpoints {
            draft.set_cell(Cell { peer_endpoints, front_endpoints, ..known.clone() })?;
            changed = true;
        }
    }
    if changed { Ok(Some(draft.build()?)) } else { Ok(None) }
}

fn cell(place: &Place) -> anyhow::Result<Cell> {
    Ok(Cell {
        peer_endpoints: vec![place.peer.to_string()],
        front_endpoints: vec![place.front.to_string()],
        ..Cell::new(CellId::new(&place.id)?, RegionId::new(&place.region)?)
    })
}

#[cfg(test)]
mod tests {
    use super::super::place;
    use super::*;

    const RTT: Duration = Duration::from_millis(30);

    #[test]
    fn the_first_map_gives_each_cell_its_share_and_says_how_far_the_regions_are() {
        let map = first(&place::lay_out(7000, 3), RTT).expect("a valid map");
        assert_eq!(map.global_cell().id.as_str(), "bj-1");
        let buckets: Vec<_> =
            map.cells().iter().filter_map(|c| map.index_of(&c.id)).map(|i| map.bucket_count(i)).collect();
        assert!(buckets.iter().all(|count| count.abs_diff(65_536 / 3) <= 2), "{buckets:?}");
        let region = |name| RegionId::new(name).expect("a name");
        assert_eq!(map.distance(&region("beijing"), &region("shanghai")), Some(RTT));
    }

    #[test]
    fn other_ports_make_a_next_version_with_the_same_homes() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("map.pb");
        let load = || map_store::FileStore::open(&path).load().expect("a map");
        publish(&path, &place::lay_out(7000, 2), RTT).expect("a first map");
        let before = load();
        publish(&path, &place::lay_out(7000, 2), RTT).expect("nothing to do");
        assert_eq!(load().epoch(), before.epoch());
        publish(&path, &place::lay_out(9000, 2), RTT).expect("a next map");
        let after = load();
        assert_eq!(after.epoch(), before.epoch().next());
        assert_eq!(after.bucket_table_bytes(), before.bucket_table_bytes());
        assert_eq!(after.cells()[1].front_endpoints, ["127.0.0.1:9010"]);
    }

    #[test]
    fn a_folder_of_other_cells_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("map.pb");
        publish(&path, &place::lay_out(7000, 2), RTT).expect("a first map");
        let error = publish(&path, &place::lay_out(7000, 3), RTT).expect_err("three cells are others").to_string();
        assert!(error.contains("bj-1, sh-1, not bj-1, sh-1, bj-2") && error.contains("--data"), "{error}");
    }
}
