//! Owners learnt from redirects.

use cell_map::CellMap;
use mesh_routing::learn::{Learnt, Redirect};
use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

/// Redirects remembered at most.
const REDIRECTS: usize = 65_536;

/// Owners that the map does not know yet.
#[derive(Debug)]
pub(super) struct Owners {
    learnt: Mutex<Learnt>,
    /// Size of `learnt`, so that the usual call takes no lock.
    len: AtomicUsize,
}

impl Default for Owners {
    fn default() -> Self {
        Self { learnt: Mutex::new(Learnt::new(REDIRECTS)), len: AtomicUsize::new(0) }
    }
}

impl Owners {
    /// What was learnt of a key.
    pub fn get(&self, key: &[u8]) -> Option<Redirect> {
        if self.len.load(Relaxed) == 0 {
            return None;
        }
        self.lock().get(key).cloned()
    }

    /// Learns who owns a key.
    pub fn learn(&self, key: &[u8], redirect: Redirect) {
        let mut learnt = self.lock();
        learnt.learn(key, redirect);
        self.len.store(learnt.len(), Relaxed);
    }

    /// Forgets what a new map says itself, or overrules.
    pub fn settle(&self, map: &CellMap) {
        let mut learnt = self.lock();
        learnt.settle(map);
        self.len.store(learnt.len(), Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Learnt> {
        self.learnt.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
