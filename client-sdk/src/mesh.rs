//! The mesh as a client sees it: one for each process.

use crate::{
    CallOptions, Error, Method, MethodPolicy, Slot,
    flight::Flights,
    ladder,
    slot::{Counts, SlotInner},
    wire::Wire,
};
use hashbrown::HashMap;
use std::{
    any::Any,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Deadline of calls that neither caller nor policy gives one.
const DEFAULT_DEADLINE: Duration = Duration::from_secs(5);
/// Longest deadline of calls whose policy names none.
const MAX_DEADLINE: Duration = Duration::from_secs(60);

/// The mesh as a client sees it: its cells, the ways to them, what is known here. One for each process; cheap to clone.
#[derive(Clone)]
pub struct Mesh(Arc<Inner>);

struct Inner {
    wire: Arc<dyn Wire>,
    slots: Mutex<HashMap<&'static str, Arc<dyn Any + Send + Sync>>>,
}

/// Builds a [`Mesh`].
#[derive(Debug, Default)]
pub struct MeshBuilder {}

impl std::fmt::Debug for Mesh {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mesh").finish_non_exhaustive()
    }
}

impl Mesh {
    /// How a mesh is reached.
    #[must_use]
    pub fn builder() -> MeshBuilder {
        MeshBuilder::default()
    }

    /// Over this wire.
    pub(crate) fn over(wire: Arc<dyn Wire>) -> Self {
        Self(Arc::new(Inner { wire, slots: Mutex::default() }))
    }

    pub(crate) fn wire(&self) -> &dyn Wire {
        &*self.0.wire
    }

    /// The slot of a method, made at its first use.
    pub(crate) fn slot<M: Method>(&self) -> Slot<M> {
        let mut slots = self.0.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || -> Arc<dyn Any + Send + Sync> {
            let policy: &'static MethodPolicy = const { &M::POLICY };
            Arc::new(SlotInner::<M> { policy, evaluator: None, flights: Flights::default(), counts: Counts::default() })
        };
        let slot = Arc::clone(slots.entry(M::POLICY.path).or_insert_with(new));
        // Two generated clients of one method, in two crates, are two types: each has a slot of its own then.
        match slot.downcast() {
            Ok(slot) => Slot(slot),
            Err(_) => Slot(new().downcast().expect("just made")),
        }
    }

    /// When a call that is made now ends, by its options, its policy, and the call that is being served.
    ///
    /// # Errors
    /// DEADLINE_EXCEEDED when no time is left.
    pub(crate) fn deadline(&self, policy: &MethodPolicy, options: &CallOptions) -> Result<Instant, Error> {
        let default = policy.default_deadline.unwrap_or(DEFAULT_DEADLINE);
        let max = policy.max_deadline.unwrap_or(MAX_DEADLINE);
        let now = Instant::now();
        let deadline = ladder::deadline(now, options.deadline, default, max);
        let served = mesh_layers::CallContext::with_current(|call| call.deadline() - mesh_layers::propagate::MARGIN);
        let deadline = served.map_or(deadline, |served| served.min(deadline));
        if deadline <= now { Err(Error::deadline_exceeded().in_method(policy.path)) } else { Ok(deadline) }
    }
}
