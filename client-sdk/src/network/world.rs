//! What is known of the mesh, in the form that calls use. Immutable; replaced as a whole.

use super::{
    attempt::MISSES,
    colocated::{Colocated, Inside},
    job::Job,
    owners::Owners,
    pool::{Pool, Pools},
    tally::{Tallies, Tally},
};
use crate::restrict::Restrictions;
use cell_map::{CellId, CellIndex, CellMap, OwnerEpochs};
use hashbrown::HashMap;
use http::{HeaderMap, HeaderValue};
use mesh_layers::metadata;
use mesh_policy::Scope;
use mesh_proto::control_v1;
use mesh_routing::{
    balance,
    decide::{Decision, Question, Surroundings, decide},
};
use std::{sync::Arc, time::Duration};

/// What routers told, as it came.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    /// The map.
    pub map: Option<Arc<CellMap>>,
    /// Cell of the router that told: the nearest one.
    pub here: Option<CellId>,
    /// The instances of all cells.
    pub instances: control_v1::Instances,
    /// What clients may do less than their policies say.
    pub restrictions: control_v1::Restrictions,
}

/// What is known of the mesh.
#[derive(Debug)]
pub(super) struct World {
    pub map: Option<Mapped>,
    pub restrictions: Restrictions,
    /// Those of the seeds that are routers of the nearest cell; all seeds, for the caller knows them to be his way; the
    /// routers that the map names of that cell. The later ones where none of the earlier ones is up.
    routers: [Vec<Arc<Pool>>; 3],
}

/// The map with the ways to its cells.
#[derive(Debug)]
pub(super) struct Mapped {
    pub map: Arc<CellMap>,
    /// Its epoch as a header value.
    pub epoch: HeaderValue,
    /// Place of the nearest cell.
    here: Option<CellIndex>,
    global: CellIndex,
    /// In the map's order.
    ways: Vec<Way>,
}

/// How to reach a cell.
#[derive(Debug)]
pub(super) struct Way {
    pub tally: Arc<Tally>,
    /// Instances, by the services that they host.
    hosts: HashMap<String, Vec<Arc<Pool>>>,
    /// Services of this process.
    inside: HashMap<String, Inside>,
}

/// What worlds are made of.
pub(super) struct Parts<'p> {
    pub pools: &'p Pools,
    pub tallies: &'p Tallies,
    pub colocated: &'p [Colocated],
    pub seeds: &'p [Arc<Pool>],
}

/// Where an attempt goes.
#[derive(Debug)]
pub(super) struct Place {
    /// How to get there; none: it is known that nothing can be sent, not even to a router.
    pub target: Option<Target>,
    /// The cell that is to answer, as far as is known.
    pub tally: Arc<Tally>,
    /// The epochs believed of the owner.
    pub asked: OwnerEpochs,
    /// Epoch of the map that it was decided by.
    pub epoch: Option<HeaderValue>,
    /// It goes through a router since no direct way works.
    pub fallback: bool,
}

/// How to get to a place.
#[derive(Debug)]
pub(super) enum Target {
    /// A service in this process.
    Inside(Inside),
    /// An instance.
    Instance(Arc<Pool>),
    /// A router.
    Router(Arc<Pool>),
}

/// Chance and time of a decision.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dice {
    /// A random number.
    pub chance: u64,
    /// Since the network was made.
    pub now: Duration,
}

impl Place {
    /// Tells a service in this process what a peer would: it believes its own process.
    pub fn claim(&self, headers: &mut HeaderMap) {
        for (name, epoch) in
            [(metadata::USER_EPOCH, self.asked.user.get()), (metadata::BUCKET_EPOCH, self.asked.bucket.get())]
        {
            if epoch != 0 {
                headers.insert(name, metadata::decimal(epoch));
            }
        }
    }
}

impl World {
    /// From what routers told.
    pub fn new(known: &Known, parts: &Parts<'_>) -> Self {
        let restrictions = Restrictions::from(&known.restrictions);
        let map = known.map.as_ref().map(|map| Mapped::new(map, known, parts));
        let nearest = |id: &CellId| known.instances.cells.iter().find(|cell| cell.cell == id.as_str());
        let routers = known.here.as_ref().and_then(nearest).map_or(&[][..], |cell| &cell.routers);
        let near: Vec<_> = pools(routers.iter(), parts.pools, &parts.tallies.routers);
        let is_near = |seed: &&Arc<Pool>| near.iter().any(|router| Arc::ptr_eq(router, seed));
        let seeds = parts.seeds.iter().filter(is_near).cloned().collect();
        Self { map, restrictions, routers: [seeds, parts.seeds.to_vec(), near] }
    }

    /// Where a call goes, after so many direct attempts missed.
    pub fn place(&self, job: &Job<'_>, misses: u8, owners: &Owners, parts: &Parts<'_>, dice: Dice) -> Place {
        let unknown = || self.by_router(&parts.tallies.routers, OwnerEpochs::ZERO, dice);
        let Some(mapped) = &self.map else { return unknown() };
        let redirect = job.key.and_then(|key| owners.get(key));
        let service = job.service();
        let question = Question { scope: job.scope, key: job.key, hops: 0, redirect: redirect.as_ref() };
        let reachable = |cell: CellIndex| mapped.way(cell).reaches(service);
        let (map, global, here) = (&*mapped.map, mapped.global, mapped.here);
        let (cell, asked) = match decide(question, Surroundings { map, global, here, reachable: &reachable }) {
            Decision::Cell { cell, asked } => (Some(cell), asked),
            Decision::Local { asked } => (here, asked),
            // A batch for many, which a router divides; a cell that is not in the map yet.
            Decision::Refuse(_) => (None, OwnerEpochs::ZERO),
        };
        let Some(way) = cell.map(|cell| mapped.way(cell)) else { return unknown() };
        let hosts = way.hosts.get(service).map_or(&[][..], Vec::as_slice);
        let inside = way.inside.get(service);
        let target = match inside {
            _ if job.no_direct || misses >= MISSES => None,
            Some(inside) => Some(Target::Inside(inside.clone())),
            None => pick(hosts, dice).map(Target::Instance),
        };
        match target {
            Some(_) => {
                let epoch = Some(mapped.epoch.clone());
                Place { target, tally: Arc::clone(&way.tally), asked, epoch, fallback: false }
            }
            None => {
                let fallback = !job.no_direct && (inside.is_some() || !hosts.is_empty());
                Place { fallback, ..self.by_router(&way.tally, asked, dice) }
            }
        }
    }

    /// The cell that a call would go to now.
    pub fn cell(&self, scope: Scope, key: Option<&[u8]>, owners: &Owners) -> Option<&CellId> {
        let mapped = self.map.as_ref()?;
        let redirect = key.and_then(|key| owners.get(key));
        let around = Surroundings { map: &mapped.map, global: mapped.global, here: mapped.here, reachable: &|_| true };
        let cell = match decide(Question { scope, key, hops: 0, redirect: redirect.as_ref() }, around) {
            Decision::Cell { cell, .. } => cell,
            Decision::Local { .. } => mapped.here?,
            Decision::Refuse(_) => return None,
        };
        mapped.way(cell).tally.cell.as_ref()
    }

    fn by_router(&self, tally: &Arc<Tally>, asked: OwnerEpochs, dice: Dice) -> Place {
        let router = self.routers.iter().find_map(|routers| pick(routers, dice));
        let epoch = self.map.as_ref().map(|mapped| mapped.epoch.clone());
        Place { target: router.map(Target::Router), tally: Arc::clone(tally), asked, epoch, fallback: false }
    }
}

impl Mapped {
    fn new(map: &Arc<CellMap>, known: &Known, parts: &Parts<'_>) -> Self {
        let instances: HashMap<&str, &control_v1::CellInstances> =
            known.instances.cells.iter().map(|cell| (cell.cell.as_str(), cell)).collect();
        let way = |cell: &cell_map::Cell| {
            let tally = parts.tallies.of(&cell.id);
            let instances = instances.get(cell.id.as_str()).map_or(&[][..], |cell| &cell.instances);
            let mut hosts: HashMap<String, Vec<Arc<Pool>>> = HashMap::new();
            for instance in instances {
                let Some(pool) = parts.pools.of(&instance.address, &tally) else {
                    tracing::warn!(cell = %cell.id, address = instance.address, "instance has no usable address");
                    continue;
                };
                for service in &instance.services {
                    hosts.entry_ref(service).or_default().push(Arc::clone(&pool));
                }
            }
            let here = parts.colocated.iter().filter(|colocated| *colocated.cell() == cell.id);
            let inside = here.flat_map(|colocated| {
                colocated.services().iter().map(|service| (service.clone(), colocated.service()))
            });
            Way { tally, hosts, inside: inside.collect() }
        };
        Self {
            ways: map.cells().iter().map(way).collect(),
            epoch: HeaderValue::from(map.epoch().get()),
            here: known.here.as_ref().and_then(|here| map.index_of(here)),
            global: map.index_of(&map.global_cell().id).expect("a map has its global cell"),
            map: Arc::clone(map),
        }
    }

    fn way(&self, cell: CellIndex) -> &Way {
        &self.ways[cell.index()]
    }
}

impl Way {
    /// Whether a service of this cell can be asked, as far as is known. If it cannot, it is tried on: the call that goes
    /// elsewhere would come here.
    fn reaches(&self, service: &str) -> bool {
        let hosts = self.hosts.get(service).map_or(&[][..], Vec::as_slice);
        let reaches = self.inside.contains_key(service) || hosts.iter().any(|pool| !pool.is_down());
        if !reaches {
            hosts.iter().for_each(|pool| pool.ask());
        }
        reaches
    }
}

/// One of these, by the power of two choices; none if all are down.
fn pick(pools: &[Arc<Pool>], dice: Dice) -> Option<Arc<Pool>> {
    match balance::pick(pools.len(), dice.chance, dice.now, |n| (pools[n].gauge(), !pools[n].is_down())) {
        Some(picked) => Some(Arc::clone(&pools[picked])),
        None => {
            pools.iter().for_each(|pool| pool.ask());
            None
        }
    }
}

pub(super) fn pools<'a>(
    addresses: impl Iterator<Item = &'a String>,
    pools: &Pools,
    tally: &Arc<Tally>,
) -> Vec<Arc<Pool>> {
    addresses.filter_map(|address| pools.of(address, tally)).collect()
}
