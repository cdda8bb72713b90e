//! Which idempotency keys are being worked on in this process.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

/// User key, method, request id.
type Key = (Box<[u8]>, &'static str, Box<str>);

/// The registry. Duplicates within the process are answered at once by it, those from other processes on the same
/// database by the stored row once they have their turn.
#[derive(Clone, Default)]
pub(crate) struct InFlight(Arc<Mutex<HashSet<Key>>>);

/// Holds a key until dropped.
pub(crate) struct Claim {
    registry: InFlight,
    key: Key,
}

impl InFlight {
    /// Claims a key, unless somebody works on it.
    pub(crate) fn claim(&self, user: &[u8], method: &'static str, request_id: &str) -> Option<Claim> {
        let key = (user.into(), method, request_id.into());
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.insert(Key::clone(&key)).then(|| Claim { registry: self.clone(), key })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.registry.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}
