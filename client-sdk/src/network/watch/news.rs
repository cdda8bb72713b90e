//! Taking in what a router tells, and keeping a copy of it.

use crate::network::{
    Network, Settings,
    world::{Known, World},
};
use cell_map::{Admission, AdmitError, CellId, CellMap, Incarnation, admit};
use map_store::{Kept, StoreError, format::Kind};
use mesh_proto::{
    control_v1::{Instances, WatchMeshResponse},
    map_v1,
};
use std::{
    collections::HashSet,
    path::Path,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};
use tokio::task::spawn_blocking;

/// What a last good copy's file begins with.
const KIND: Kind = *b"CELLMESH";
/// Least time between two writes of the copy.
const WRITE_EVERY: Duration = Duration::from_secs(1);

/// What is known, and whether the copy has it.
pub(super) struct News {
    pub known: Known,
    unwritten: bool,
    written: Option<Instant>,
}

impl News {
    pub fn new(known: Known) -> Self {
        Self { known, unwritten: false, written: None }
    }

    /// Incarnation and epoch of the map; zeros without one.
    pub fn version(&self) -> (u64, u64) {
        self.known.map.as_ref().map_or((0, 0), |map| (map.incarnation().get(), map.epoch().get()))
    }

    /// Takes a message into force.
    pub async fn take(&mut self, network: &Network, message: WatchMeshResponse) {
        let known = &mut self.known;
        let mut changed = false;
        if known.here.as_ref().is_none_or(|here| here.as_str() != message.cell) {
            let here = CellId::new(&message.cell).ok();
            changed |= here != known.here;
            known.here = here;
        }
        if let Some(restrictions) = message.restrictions {
            changed |= known.restrictions != restrictions;
            known.restrictions = restrictions;
        }
        if let Some(map) = message.map {
            let adopted = Incarnation::new(network.watching.adopted.load(Relaxed));
            if let Some(map) = offered(known.map.as_deref(), map, adopted).await {
                network.owners.settle(&map);
                known.map = Some(Arc::new(map));
                changed = true;
            }
        }
        if let Some(told) = message.instances {
            let instances = merged(&known.instances, told, known.map.as_deref());
            changed |= known.instances != instances;
            known.instances = instances;
        }
        if changed {
            network.world.store(Arc::new(World::new(known, &network.parts())));
            network.restrictions.send_if_modified(|told| {
                let news = **told != known.restrictions;
                if news {
                    *told = Arc::new(known.restrictions.clone());
                }
                news
            });
            self.unwritten = true;
        }
        if let Some(path) = &network.settings.last_good {
            self.keep(path).await;
        }
    }

    /// Writes the copy, if there is news and the last time was long enough ago.
    async fn keep(&mut self, path: &Path) {
        if !self.unwritten || self.written.is_some_and(|at| at.elapsed() < WRITE_EVERY) {
            return;
        }
        let (kept, known) = (Kept::at(path, KIND), self.known.clone());
        let written = spawn_blocking(move || kept.write(&copy(&known))).await;
        if let Ok(Err(error)) = written {
            tracing::warn!(%error, "the last good copy could not be written");
        }
        self.unwritten = false;
        self.written = Some(Instant::now());
    }
}

/// The instances that a router tells, and what was known of cells that it has not heard of, as after its start.
fn merged(known: &Instances, mut told: Instances, map: Option<&CellMap>) -> Instances {
    let is_told: HashSet<&str> = told.cells.iter().map(|entry| entry.cell.as_str()).collect();
    let is_gone = |cell: &str| map.is_some_and(|map| CellId::new(cell).map_or(true, |id| map.index_of(&id).is_none()));
    let kept = known.cells.iter().filter(|entry| !is_told.contains(entry.cell.as_str()) && !is_gone(&entry.cell));
    let kept: Vec<_> = kept.cloned().collect();
    told.cells.extend(kept);
    // Routers tell in the map's order, or in another: that is no news.
    told.cells.sort_by(|one, other| one.cell.cmp(&other.cell));
    told
}

/// The map that a router offers, if it is to be taken.
async fn offered(current: Option<&CellMap>, message: map_v1::CellMap, adopted: Incarnation) -> Option<CellMap> {
    // Its tables are checked and hashed.
    let map = match spawn_blocking(move || CellMap::try_from(message)).await.ok()? {
        Ok(map) => map,
        Err(error) => {
            tracing::error!(%error, "a router offers a damaged cell map; the one in force stays");
            return None;
        }
    };
    let refused = match current.map(|current| admit(current, &map)) {
        None | Some(Admission::Newer) => None,
        Some(Admission::Same) => return None,
        Some(Admission::Refused(AdmitError::OtherIncarnation { current, offered }))
            if offered > current && offered == adopted =>
        {
            None
        }
        Some(Admission::Refused(error)) => Some(error),
    };
    match refused {
        None => {
            let (epoch, incarnation) = (map.epoch().get(), map.incarnation().get());
            tracing::info!(map.epoch = epoch, map.incarnation = incarnation, "cell map in force");
            Some(map)
        }
        Some(error) if error.is_alarm() => {
            tracing::error!(%error, "cell map refused; the one in force stays");
            None
        }
        Some(error) => {
            tracing::debug!(%error, "cell map refused; the one in force stays");
            None
        }
    }
}

fn copy(known: &Known) -> WatchMeshResponse {
    WatchMeshResponse {
        map: known.map.as_deref().map(map_v1::CellMap::from),
        instances: Some(known.instances.clone()),
        restrictions: Some(known.restrictions.clone()),
        cell: known.here.as_ref().map(CellId::to_string).unwrap_or_default(),
        elapsed_ms: 0,
    }
}

/// What the last good copy says; nothing if there is none, or it is of no use. Blocks on the disk.
pub(in crate::network) fn recall(settings: &Settings) -> Known {
    let Some(path) = &settings.last_good else { return Known::default() };
    let message: WatchMeshResponse = match Kept::at(path, KIND).read() {
        Ok(message) => message,
        Err(StoreError::NotFound { .. }) => return Known::default(),
        Err(error) => {
            tracing::warn!(%error, "the last good copy is of no use");
            return Known::default();
        }
    };
    let map = match message.map.map(CellMap::try_from).transpose() {
        Ok(map) => map.map(Arc::new),
        Err(error) => {
            tracing::warn!(%error, "the last good copy is of no use");
            return Known::default();
        }
    };
    let (instances, restrictions) = (message.instances.unwrap_or_default(), message.restrictions.unwrap_or_default());
    Known { map, here: CellId::new(&message.cell).ok(), instances, restrictions }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cell_map::{Cell, MapDraft, RegionId};
    use mesh_proto::control_v1::{CellInstances, Instance};

    fn entry(cell: &str, address: &str) -> CellInstances {
        let instance = || Instance { address: address.to_owned(), services: vec!["x.X".to_owned()] };
        let instances = (!address.is_empty()).then(instance).into_iter().collect();
        CellInstances { cell: cell.to_owned(), instances, routers: Vec::new() }
    }

    #[test]
    fn what_a_router_does_not_tell_stays_as_long_as_the_cell_does() {
        let mut draft = MapDraft::new(Incarnation::new(1));
        for name in ["a", "b", "c"] {
            draft.add_cell(Cell::new(CellId::new(name).unwrap(), RegionId::new("r").unwrap())).unwrap();
        }
        draft.set_global_cell(&CellId::new("a").unwrap()).spread_buckets().unwrap();
        let map = draft.build().unwrap();
        let known = Instances { cells: ["a", "b", "c", "gone"].map(|cell| entry(cell, "old:1")).into() };
        let told = || Instances { cells: vec![entry("c", ""), entry("a", "new:1")] };
        let cells = vec![entry("a", "new:1"), entry("b", "old:1"), entry("c", "")];
        assert_eq!(merged(&known, told(), Some(&map)).cells, cells, "a cell that says it has none is believed");
        assert_eq!(merged(&known, told(), None).cells.len(), 4, "without a map no cell is known to be gone");
    }
}
