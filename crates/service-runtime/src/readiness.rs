//! Readiness: a process is ready when everything that it waits for has come, until it drains.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::watch;

/// What a process still waits for. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Readiness(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    closed: Mutex<Closed>,
    ready: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Closed {
    next: u64,
    gates: BTreeMap<u64, String>,
    draining: bool,
}

/// Keeps the process from being ready until it is opened. Dropping it unopened keeps it so for ever: what failed to
/// start must not look started.
#[derive(Debug)]
#[must_use = "a gate that is dropped without being opened keeps the process unready"]
pub struct Gate {
    id: u64,
    readiness: Readiness,
}

impl Default for Readiness {
    fn default() -> Self {
        Self(Arc::new(Inner { closed: Mutex::default(), ready: watch::Sender::new(true) }))
    }
}

impl Readiness {
    /// A new closed gate; `/readyz` shows its name.
    pub fn gate(&self, name: impl Into<String>) -> Gate {
        let mut id = 0;
        self.change(|closed| {
            id = closed.next;
            closed.next += 1;
            closed.gates.insert(id, name.into());
        });
        Gate { id, readiness: self.clone() }
    }

    /// Whether nothing is waited for and the process does not drain.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        *self.0.ready.borrow()
    }

    /// Names of the closed gates; `draining` among them while draining.
    #[must_use]
    pub fn waits_for(&self) -> Vec<String> {
        let closed = self.0.closed.lock().unwrap_or_else(PoisonError::into_inner);
        let draining = closed.draining.then(|| "draining".to_owned());
        closed.gates.values().cloned().chain(draining).collect()
    }

    /// Whether [`Self::drain`] was called.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.0.closed.lock().unwrap_or_else(PoisonError::into_inner).draining
    }

    /// Changes of [`Self::is_ready`].
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<bool> {
        self.0.ready.subscribe()
    }

    /// Not ready from now on, for ever.
    pub fn drain(&self) {
        self.change(|closed| closed.draining = true);
        // Also where the process was not ready before: who watches must see the end.
        self.0.ready.send_modify(|_| {});
    }

    fn change(&self, change: impl FnOnce(&mut Closed)) {
        let mut closed = self.0.closed.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut closed);
        let ready = closed.gates.is_empty() && !closed.draining;
        // Under the lock, so that two changes are published in their order.
        self.0.ready.send_if_modified(|was| std::mem::replace(was, ready) != ready);
    }
}

impl Gate {
    /// What was waited for is there. Opening it again changes nothing.
    pub fn open(&self) {
        self.readiness.change(|closed| {
            closed.gates.remove(&self.id);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_when_every_gate_is_open_until_drained() {
        let readiness = Readiness::default();
        assert!(readiness.is_ready());
        let (map, snapshot) = (readiness.gate("map"), readiness.gate("snapshot"));
        assert_eq!(readiness.waits_for(), ["map", "snapshot"]);
        map.open();
        map.open();
        assert!(!readiness.is_ready());
        snapshot.open();
        assert!(readiness.is_ready());
        readiness.drain();
        assert!(!readiness.is_ready());
        assert_eq!(readiness.waits_for(), ["draining"]);
    }

    #[test]
    fn an_abandoned_gate_stays_closed() {
        let readiness = Readiness::default();
        drop(readiness.gate("snapshot"));
        assert!(!readiness.is_ready());
    }
}
