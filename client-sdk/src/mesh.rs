//! The mesh as a client sees it: one for each process.

use crate::{
    CallOptions, Error, Method, MethodPolicy, MethodStats, Settings, Slot, Stats, fanout, ladder,
    restrict::Restrictions,
    slot::{AnySlot, SlotInner},
    wire::Wire,
};
use arc_swap::ArcSwap;
use hashbrown::HashMap;
use std::{
    any::{Any, TypeId},
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
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
    settings: Settings,
    restrictions: ArcSwap<Restrictions>,
    slots: Mutex<Slots>,
}

/// By the method's type: two crates that generate the same method have a slot each.
type Slots = HashMap<TypeId, Arc<dyn AnySlot>>;

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

    /// Over this wire, with these settings.
    pub(crate) fn over(wire: Arc<dyn Wire>, settings: Settings) -> Self {
        Self(Arc::new(Inner { wire, settings, restrictions: ArcSwap::default(), slots: Mutex::default() }))
    }

    pub(crate) fn wire(&self) -> &dyn Wire {
        &*self.0.wire
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// What was counted since the mesh was built.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let mut methods = BTreeMap::<&str, MethodStats>::new();
        for slot in self.slots().values() {
            let stats = slot.stats();
            methods.entry(stats.path).and_modify(|other| other.add(&stats)).or_insert(stats);
        }
        Stats { methods: methods.into_values().collect() }
    }

    /// The restrictions in force.
    pub(crate) fn restrictions(&self) -> Arc<Restrictions> {
        self.0.restrictions.load_full()
    }

    /// Puts restrictions in force instead of those before.
    pub(crate) fn restrict(&self, restrictions: Restrictions) {
        let slots = self.slots();
        slots.values().for_each(|slot| slot.restrict(&restrictions));
        // Under the lock: a slot made from now on reads these.
        self.0.restrictions.store(Arc::new(restrictions));
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.0.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The slot of a method, made at its first use.
    pub(crate) fn slot<M: Method>(&self) -> Slot<M> {
        let mut slots = self.slots();
        let slot = slots.entry(TypeId::of::<M>()).or_insert_with(|| {
            let slot = SlotInner::<M>::new(None);
            slot.restrict(&self.restrictions());
            Arc::new(slot)
        });
        let slot: Arc<dyn Any + Send + Sync> = Arc::<dyn AnySlot>::clone(slot);
        Slot(slot.downcast().expect("it stands under its method's type"))
    }

    /// When a call that is made `now` ends: by its options, its policy, the call that is being served, and the
    /// [`within`](crate::within) around it.
    ///
    /// # Errors
    /// DEADLINE_EXCEEDED when no time is left.
    pub(crate) fn deadline(
        &self,
        now: Instant,
        policy: &MethodPolicy,
        options: &CallOptions,
    ) -> Result<Instant, Error> {
        let default = policy.default_deadline.unwrap_or(DEFAULT_DEADLINE);
        let max = policy.max_deadline.unwrap_or(MAX_DEADLINE);
        let deadline = ladder::deadline(now, options.deadline, default, max);
        let served = mesh_layers::CallContext::with_current(|call| call.deadline() - mesh_layers::propagate::MARGIN);
        let deadline = [served, fanout::scoped()].into_iter().flatten().fold(deadline, Instant::min);
        if deadline <= now { Err(Error::deadline_exceeded().in_method(policy.path)) } else { Ok(deadline) }
    }
}
