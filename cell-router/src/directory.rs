//! Where clients that route by themselves find the service processes of every cell.
//!
//! A router knows the instances of its own cell by its configuration, and asks one router of each other cell for theirs, on
//! the peer listener. How another cell's instances are reached from here (through a gateway or a link) can be
//! said in `peers.fronts`.

mod neighbour;

use crate::{config::Instance, worker::Common};
use cell_map::{CellId, CellMap};
use mesh_proto::control_v1 as pb;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};
use tokio::{
    sync::watch,
    task::{AbortHandle, JoinSet},
};

/// What is known of all cells' instances, and told to clients.
#[derive(Debug)]
pub struct Directory {
    here: CellId,
    fronts: BTreeMap<CellId, String>,
    known: watch::Sender<Arc<BTreeMap<CellId, Vec<pb::Instance>>>>,
}

impl Directory {
    /// Knows this cell's instances, those of them that say where clients reach them. `routed` are the services that an
    /// instance hosts which names none; `fronts` are addresses to use instead of those that other cells announce.
    #[must_use]
    pub fn new<'t>(
        here: CellId,
        instances: &[Instance],
        routed: impl Iterator<Item = &'t str>,
        fronts: BTreeMap<CellId, String>,
    ) -> Self {
        let routed: Vec<String> = routed.map(str::to_owned).collect();
        let announced = instances.iter().filter_map(|instance| {
            let services = instance.services.as_ref().unwrap_or(&routed).clone();
            Some(pb::Instance { address: instance.front.clone()?, services })
        });
        let known = BTreeMap::from([(here.clone(), announced.collect())]);
        Self { here, fronts, known: watch::Sender::new(Arc::new(known)) }
    }

    /// Changes of what is known.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<BTreeMap<CellId, Vec<pb::Instance>>>> {
        self.known.subscribe()
    }

    /// What another cell announces, as reached from here. An answer without instances is believed too: a cell may have
    /// none that clients can reach.
    fn learn(&self, cell: &CellId, announced: Vec<pb::Instance>) {
        let instances = match self.fronts.get(cell) {
            None => announced,
            Some(_) if announced.is_empty() => announced,
            Some(front) => {
                let services = announced.into_iter().flat_map(|instance| instance.services);
                let services = BTreeSet::from_iter(services).into_iter().collect();
                vec![pb::Instance { address: front.clone(), services }]
            }
        };
        self.known.send_if_modified(|known| {
            let news = known.get(cell) != Some(&instances);
            if news {
                Arc::make_mut(known).insert(cell.clone(), instances);
            }
            news
        });
    }

    /// Forgets the cells that the map has no more.
    fn retain(&self, map: &CellMap) {
        self.known.send_if_modified(|known| {
            let gone = |cell: &CellId| *cell != self.here && map.index_of(cell).is_none();
            let any = known.keys().any(gone);
            if any {
                Arc::make_mut(known).retain(|cell, _| !gone(cell));
            }
            any
        });
    }
}

/// What is told to clients: the instances, and the front doors of the routers that the map names. Of a cell that was not
/// heard of yet nothing is told: clients may know more.
#[must_use]
pub fn message(known: &BTreeMap<CellId, Vec<pb::Instance>>, map: &CellMap) -> pb::Instances {
    let cells = map.cells().iter().filter_map(|cell| {
        let (instances, routers) = (known.get(&cell.id)?.clone(), cell.front_endpoints.clone());
        Some(pb::CellInstances { cell: cell.id.to_string(), instances, routers })
    });
    pb::Instances { cells: cells.collect() }
}

/// Asks the other cells for their instances, for as long as the router runs. Without a token nobody would answer.
pub async fn follow(directory: Arc<Directory>, common: Arc<Common>, mut versions: watch::Receiver<u64>) {
    let Some(token) = &common.token else { return std::future::pending().await };
    let mut tasks = JoinSet::new();
    let mut asked: HashMap<(CellId, Vec<String>), AbortHandle> = HashMap::new();
    loop {
        versions.borrow_and_update();
        if let Some(world) = common.brain.worlds.load() {
            directory.retain(&world.map);
            let others = world.ways().iter().filter(|way| way.id != directory.here);
            let wanted: Vec<_> = others
                .map(|way| (way.id.clone(), way.endpoints.iter().map(|at| at.address.clone()).collect::<Vec<_>>()))
                .filter(|(_, addresses)| !addresses.is_empty())
                .collect();
            asked.retain(|key, task| {
                let keep = wanted.contains(key);
                if !keep {
                    task.abort();
                }
                keep
            });
            for key in wanted {
                let start = || {
                    let (cell, addresses) = key.clone();
                    tasks.spawn(neighbour::watch(Arc::clone(&directory), cell, addresses, token.clone()))
                };
                asked.entry(key.clone()).or_insert_with(start);
            }
        }
        if versions.changed().await.is_err() {
            // No map can come any more; the neighbours are asked on.
            return std::future::pending().await;
        }
    }
}
