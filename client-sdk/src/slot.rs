//! What a mesh keeps for one method, shared by all its clients.

use crate::{Mesh, Method, flight::Flights, local::Evaluator};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// What a mesh keeps for one method: its local logic, the calls in flight, the batches that gather. Generated clients
/// hold one for each of their methods; all clients of a mesh share it.
pub struct Slot<M: Method>(pub(crate) Arc<SlotInner<M>>);

pub(crate) struct SlotInner<M: Method> {
    pub policy: &'static crate::MethodPolicy,
    /// Answers inside the process.
    pub evaluator: Option<Arc<dyn Evaluator<M>>>,
    /// Calls that equal calls may join.
    pub flights: Flights<M>,
    /// What was counted.
    pub counts: Counts,
}

/// What was counted of one method.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Calls made by callers.
    pub logical: AtomicU64,
    /// Of them answered by local logic.
    pub local: AtomicU64,
    /// Of them answered by another caller's call.
    pub coalesced: AtomicU64,
    /// Of them carried by a batch.
    pub batched: AtomicU64,
    /// Calls sent on the wire by upper rungs, batches and streams included.
    pub wire: AtomicU64,
    /// Calls that failed.
    pub failed: AtomicU64,
}

impl Counts {
    pub fn add(counter: &AtomicU64) -> u64 {
        counter.fetch_add(1, Relaxed)
    }
}

impl<M: Method> Slot<M> {
    /// The mesh's slot of this method.
    #[must_use]
    pub fn of(mesh: &Mesh) -> Self {
        mesh.slot()
    }
}

impl<M: Method> Clone for Slot<M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<M: Method> std::fmt::Debug for Slot<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slot").field("method", &self.0.policy.path).finish_non_exhaustive()
    }
}
