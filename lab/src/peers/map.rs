//! Maps for experiments.

use anyhow::Context as _;
use cell_map::{BucketId, Cell, CellId, CellMap, Guard, Incarnation, MapDraft, RegionId};
use map_store::FileStore;
use std::{net::SocketAddr, path::Path, time::Duration};

/// Writes a map with one cell per entry, each in a region of its own 30 ms from the others, the first one global.
///
/// # Errors
/// If it cannot be built or written.
pub fn write(path: &Path, cells: &[(CellId, RegionId, SocketAddr)]) -> anyhow::Result<()> {
    let mut draft = MapDraft::new(Incarnation::new(1));
    for (id, region, peer) in cells {
        let mut cell = Cell::new(id.clone(), region.clone());
        cell.peer_endpoints = vec![peer.to_string()];
        draft.add_cell(cell)?;
    }
    for (i, (_, a, _)) in cells.iter().enumerate() {
        for (_, b, _) in &cells[..i] {
            draft.set_distance(a, b, Duration::from_millis(30))?;
        }
    }
    draft.set_global_cell(&cells.first().context("a map of no cells")?.0);
    draft.spread_buckets()?;
    publish(path, &draft.build()?)
}

/// Copies a map with every bucket given to one cell, as if it were an older version of it.
///
/// # Errors
/// If the map cannot be read, built or written.
pub fn write_with_all_buckets_at(from: &Path, to: &Path, cell: &str) -> anyhow::Result<()> {
    let map = FileStore::open(from).load()?;
    let cell = CellId::new(cell)?;
    let mut draft = map.next();
    for bucket in BucketId::all() {
        draft.set_bucket_cell(bucket, &cell)?;
    }
    draft.set_epoch(map.epoch());
    publish(to, &draft.build()?)
}

fn publish(path: &Path, map: &CellMap) -> anyhow::Result<()> {
    FileStore::open(path).publish(map, None, Guard::default())?;
    Ok(())
}
