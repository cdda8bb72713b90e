//! The cluster's cell map.

use super::Place;
use crate::wanted::{Distance, Wanted, WantedCell};
use anyhow::{Context as _, bail};
use cell_map::Incarnation;
use std::path::Path;
use std::time::Duration;

/// Publishes a map of these places, unless the file holds it already. Cells found there keep their buckets and users: only
/// their addresses may change.
pub(super) fn publish(path: &Path, places: &[Place], rtt: Duration) -> anyhow::Result<()> {
    if path.exists() {
        let store = map_store::FileStore::open(path);
        let current = store.load().with_context(|| format!("loading the map {}", path.display()))?;
        let known: Vec<&str> = current.cells().iter().map(|cell| cell.id.as_str()).collect();
        let wanted: Vec<&str> = places.iter().map(|place| place.id.as_str()).collect();
        if known != wanted {
            bail!(
                "the data folder is that of the cells {}, not {}: choose the same --cells as then, or another --data",
                known.join(", "),
                wanted.join(", ")
            );
        }
    }
    wanted(places, rtt).apply(path, Incarnation::new(1), false).context("publishing the cells' map")?;
    Ok(())
}

/// The first cell is the global one.
fn wanted(places: &[Place], rtt: Duration) -> Wanted {
    let mut regions: Vec<&String> = places.iter().map(|place| &place.region).collect();
    regions.sort_unstable();
    regions.dedup();
    let rtt_ms = u64::try_from(rtt.as_millis()).unwrap_or(u64::MAX);
    let pairs = regions.iter().enumerate().flat_map(|(at, a)| regions[at + 1..].iter().map(move |b| [*a, *b]));
    Wanted {
        global: places[0].id.clone(),
        cells: places.iter().map(cell).collect(),
        distances: pairs.map(|pair| Distance { between: pair.map(Clone::clone), rtt_ms }).collect(),
    }
}

fn cell(place: &Place) -> WantedCell {
    WantedCell {
        id: place.id.clone(),
        region: place.region.clone(),
        weight: 1,
        draining: false,
        peer_endpoints: vec![place.peer.to_string()],
        front_endpoints: vec![place.front.to_string()],
    }
}

#[cfg(test)]
mod tests {
    use super::super::place;
    use super::*;
    use cell_map::RegionId;

    const RTT: Duration = Duration::from_millis(30);

    #[test]
    fn the_first_map_gives_each_cell_its_share_and_says_how_far_the_regions_are() {
        let cells = wanted(&place::lay_out(7000, 3), RTT).cells().expect("cells");
        let map = cells.version(None, Incarnation::new(1)).expect("a valid map").expect("the first one");
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
