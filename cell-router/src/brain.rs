//! What the router knows and decides by, shared by all workers.

use crate::{
    method::{Method, Methods},
    world::{World, Worlds},
};
use cell_map::CellMap;
use mesh_policy::Scope;
use mesh_routing::{
    decide::{Claim, claim},
    learn::{Learnt, Redirect},
};
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
};

/// Redirects remembered at most.
const REDIRECTS: usize = 65_536;

/// Events that have no method, for `/metrics`.
#[derive(Debug, Default)]
pub struct Events {
    /// Second hops refused.
    pub hops_refused: AtomicU64,
    /// Redirects learnt.
    pub redirects_learnt: AtomicU64,
    /// Calls that waited for a move.
    pub parked: AtomicU64,
    /// Calls refused before any work.
    pub rejected: AtomicU64,
    /// Calls shed for load.
    pub shed: AtomicU64,
    /// Connections cut off for abuse.
    pub cut_off: AtomicU64,
    /// Connections refused for their number.
    pub connections_refused: AtomicU64,
    /// Connections at the TLS door that agreed on nothing.
    pub handshakes_failed: AtomicU64,
    /// Connections open at the front and at the peer listener.
    pub connections: [AtomicUsize; 2],
    /// Calls of health, reflection and the control API.
    pub own_calls: AtomicU64,
}

/// What the router knows and decides by.
#[derive(Debug)]
pub struct Brain {
    /// The methods that are routed.
    pub methods: Methods,
    /// The map and the ways to its cells.
    pub worlds: Worlds,
    /// Counters.
    pub events: Events,
    /// Calls in flight, server streams apart.
    pub in_flight: AtomicUsize,
    /// Server streams in flight, those of global methods apart: they last, and take no place of a call.
    pub streams: AtomicUsize,
    /// Server streams of global methods in flight: other cells live by them, so users' streams take no place of theirs.
    pub global_streams: AtomicUsize,
    /// Bytes of calls that wait for a move.
    pub parked_bytes: AtomicUsize,
    learnt: Mutex<Learnt>,
    /// Size of `learnt`, so that the usual call takes no lock.
    learnt_len: AtomicUsize,
}

impl Brain {
    /// Knows the methods, and no map yet.
    #[must_use]
    pub fn new(methods: Methods, worlds: Worlds) -> Self {
        Self {
            methods,
            worlds,
            events: Events::default(),
            in_flight: AtomicUsize::new(0),
            streams: AtomicUsize::new(0),
            global_streams: AtomicUsize::new(0),
            parked_bytes: AtomicUsize::new(0),
            learnt: Mutex::new(Learnt::new(REDIRECTS)),
            learnt_len: AtomicUsize::new(0),
        }
    }

    /// Where calls of a method are counted while they are in flight.
    #[must_use]
    pub fn counted(&self, method: &Method) -> &AtomicUsize {
        match (method.policy.server_streaming, method.policy.scope) {
            (false, _) => &self.in_flight,
            (true, Scope::Global) => &self.global_streams,
            (true, _) => &self.streams,
        }
    }

    /// Takes a map into force and forgets the redirects that it contains.
    pub fn take_map(&self, map: Arc<CellMap>) {
        let mut learnt = self.lock();
        learnt.settle(&map);
        self.learnt_len.store(learnt.len(), Relaxed);
        drop(learnt);
        self.worlds.update(map);
    }

    /// What was learnt of a key.
    pub fn redirect(&self, key: &[u8]) -> Option<Redirect> {
        if self.learnt_len.load(Relaxed) == 0 {
            return None;
        }
        self.lock().get(key).cloned()
    }

    /// Learns who owns a key.
    pub fn learn(&self, key: &[u8], redirect: Redirect) {
        let mut learnt = self.lock();
        if learnt.learn(key, redirect) {
            self.events.redirects_learnt.fetch_add(1, Relaxed);
        }
        self.learnt_len.store(learnt.len(), Relaxed);
    }

    /// Redirects remembered.
    pub fn redirects(&self) -> usize {
        self.learnt_len.load(Relaxed)
    }

    /// Who is believed to own a key.
    pub fn claim(&self, world: &World, key: &[u8]) -> Claim {
        claim(&world.map, key, self.redirect(key).as_ref())
    }

    /// Whether calls are served: there is a map, and an instance of this cell is connected.
    pub fn is_ready(&self) -> bool {
        self.worlds.load().is_some() && self.worlds.instances().is_live()
    }

    /// Whether besides that every service that this cell has an instance for is connected.
    pub fn is_complete(&self) -> bool {
        self.is_ready() && self.methods.iter().all(|method| method.instances.is_empty() || method.is_live())
    }

    /// Whether calls of a service are served by this cell.
    pub fn serves(&self, service: &str) -> bool {
        self.worlds.load().is_some() && self.worlds.hosting(service).any(|endpoint| endpoint.is_live())
    }

    fn lock(&self) -> MutexGuard<'_, Learnt> {
        self.learnt.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
