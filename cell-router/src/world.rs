//! One version of the cell map with the ways to reach its cells.

use crate::config::Instance;
use arc_swap::ArcSwapOption;
use cell_map::{CellId, CellIndex, CellMap};
use http::HeaderValue;
use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

/// An address that calls may be sent to. One for the whole process, so that all workers count in it.
#[derive(Debug)]
pub struct Endpoint {
    /// `host:port`.
    pub address: String,
    /// Its place in each worker's table of targets.
    pub slot: usize,
    /// Connections to it, of all workers.
    live: AtomicUsize,
}

impl Endpoint {
    /// Whether a connection to it stands.
    pub fn is_live(&self) -> bool {
        self.live.load(Ordering::Relaxed) > 0
    }

    /// A connection to it was made.
    pub fn connected(&self) {
        self.live.fetch_add(1, Ordering::Relaxed);
    }

    /// A connection to it ended.
    pub fn disconnected(&self) {
        self.live.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How to reach one cell of the map.
#[derive(Clone, Debug)]
pub struct Way {
    /// The cell.
    pub id: CellId,
    /// Its name as a header value.
    pub name: HeaderValue,
    /// Its routers' peer listeners; for this cell its own instances.
    pub endpoints: Vec<Arc<Endpoint>>,
}

impl Way {
    /// Whether a connection to it stands.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.endpoints.iter().any(|endpoint| endpoint.is_live())
    }
}

/// One version of the map with the ways to reach its cells. Immutable.
#[derive(Debug)]
pub struct World {
    /// The map.
    pub map: Arc<CellMap>,
    /// This cell's place in it, if it has one.
    pub here: Option<CellIndex>,
    /// The global cell's place in it.
    pub global: CellIndex,
    /// Its epoch as a header value.
    pub epoch: HeaderValue,
    ways: Vec<Way>,
}

impl World {
    /// How to reach a cell of the map.
    #[must_use]
    pub fn way(&self, cell: CellIndex) -> &Way {
        &self.ways[cell.index()]
    }

    /// How to reach all cells of the map, in its order.
    #[must_use]
    pub fn ways(&self) -> &[Way] {
        &self.ways
    }
}

/// The present world.
#[derive(Debug)]
pub struct Worlds {
    here: CellId,
    local: Vec<Instance>,
    overrides: BTreeMap<CellId, String>,
    endpoints: Mutex<HashMap<String, Arc<Endpoint>>>,
    now: ArcSwapOption<World>,
    instances: Way,
}

impl Worlds {
    /// No map yet. `local` are this cell's instances, `overrides` other ways to a cell's routers than the map's.
    #[must_use]
    pub fn new(here: CellId, local: Vec<Instance>, overrides: BTreeMap<CellId, String>) -> Self {
        let endpoints = Mutex::default();
        let instances = way(&here, local.iter().map(|instance| &instance.address), &endpoints);
        Self { here, local, overrides, endpoints, now: ArcSwapOption::empty(), instances }
    }

    /// This cell.
    #[must_use]
    pub fn here(&self) -> &CellId {
        &self.here
    }

    /// How to reach this cell's own instances.
    #[must_use]
    pub fn instances(&self) -> &Way {
        &self.instances
    }

    /// This cell's instances that host a service.
    pub fn hosting(&self, service: &str) -> impl Iterator<Item = &Arc<Endpoint>> {
        let instances = self.local.iter().zip(&self.instances.endpoints);
        instances.filter(move |(instance, _)| instance.hosts(service)).map(|(_, endpoint)| endpoint)
    }

    /// The present world; none before the first map.
    pub fn load(&self) -> Option<Arc<World>> {
        self.now.load_full()
    }

    /// Takes a map into force.
    pub fn update(&self, map: Arc<CellMap>) {
        let ways = map.cells().iter().map(|cell| match self.overrides.get(&cell.id) {
            _ if cell.id == self.here => self.instances.clone(),
            Some(address) => way(&cell.id, [address], &self.endpoints),
            None => way(&cell.id, &cell.peer_endpoints, &self.endpoints),
        });
        let ways = ways.collect();
        let here = map.index_of(&self.here);
        let global = map.index_of(&map.global_cell().id).expect("a map has its global cell");
        let epoch = HeaderValue::from(map.epoch().get());
        self.now.store(Some(Arc::new(World { map, here, global, epoch, ways })));
    }
}

fn way<'a>(
    id: &CellId,
    addresses: impl IntoIterator<Item = &'a String>,
    endpoints: &Mutex<HashMap<String, Arc<Endpoint>>>,
) -> Way {
    let mut known = endpoints.lock().unwrap_or_else(PoisonError::into_inner);
    let endpoints = addresses.into_iter().map(|address| {
        let slot = known.len();
        let new = || Arc::new(Endpoint { address: address.clone(), slot, live: AtomicUsize::new(0) });
        Arc::clone(known.entry(address.clone()).or_insert_with(new))
    });
    let name = HeaderValue::from_str(id.as_str()).expect("a cell's name is a DNS label");
    Way { id: id.clone(), name, endpoints: endpoints.collect() }
}
