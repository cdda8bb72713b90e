//! What a mesh keeps for one method, shared by all its clients.

use crate::{
    Mesh, Method, MethodPolicy,
    batch::Lanes,
    flight::Flights,
    local::Evaluator,
    restrict::{Limits, Restrictions},
    stats::{Counts, MethodStats},
};
use std::{any::Any, sync::Arc};

/// What a mesh keeps for one method: its local logic, the calls in flight, the batches that gather. Generated clients
/// hold one for each of their methods; all clients of a mesh share it.
pub struct Slot<M: Method>(pub(crate) Arc<SlotInner<M>>);

pub(crate) struct SlotInner<M: Method> {
    pub policy: &'static MethodPolicy,
    /// Answers inside the process.
    pub evaluator: Option<Arc<dyn Evaluator<M>>>,
    /// Calls that equal calls may join.
    pub flights: Flights<M>,
    /// Calls that may share batches.
    pub lanes: Lanes<M>,
    /// What was counted.
    pub counts: Counts,
    /// What the method may not do at present.
    pub limits: Limits,
}

/// A slot of any method.
pub(crate) trait AnySlot: Any + Send + Sync {
    fn stats(&self) -> MethodStats;
    fn restrict(&self, restrictions: &Restrictions);
}

impl<M: Method> SlotInner<M> {
    pub fn new(evaluator: Option<Arc<dyn Evaluator<M>>>) -> Self {
        Self {
            policy: const { &M::POLICY },
            evaluator,
            flights: Flights::default(),
            lanes: Lanes::default(),
            counts: Counts::default(),
            limits: Limits::default(),
        }
    }
}

impl<M: Method> AnySlot for SlotInner<M> {
    fn stats(&self) -> MethodStats {
        self.counts.stats(self.policy.path)
    }

    fn restrict(&self, restrictions: &Restrictions) {
        self.limits.set(restrictions.of(self.policy.path));
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
