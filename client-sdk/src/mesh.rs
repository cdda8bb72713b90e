//! The mesh as a client sees it: one for each process.

use crate::{
    CallOptions, Error, LocalLogic, LocalSettings, LocalStats, Method, MethodPolicy, Slot,
    flight::Flights,
    ladder,
    local::{Locals, Logics},
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
    locals: Locals,
    slots: Mutex<HashMap<&'static str, Arc<dyn Any + Send + Sync>>>,
}

/// Builds a [`Mesh`].
#[derive(Debug, Default)]
pub struct MeshBuilder {
    pub(crate) logics: Logics,
}

impl MeshBuilder {
    /// Answers a method inside the client.
    ///
    /// # Errors
    /// If it is not the logic that the method's policy names, if its method or its feeds are none that it may have, or
    /// if there is one for the method already.
    pub fn local_logic(mut self, logic: impl LocalLogic) -> Result<Self, Error> {
        self.logics.register(logic)?;
        Ok(self)
    }

    /// How the data of local answers is kept fresh.
    #[must_use]
    pub fn local_settings(mut self, settings: LocalSettings) -> Self {
        self.logics.settings = settings;
        self
    }
}

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
        Self::with_logics(wire, Logics::default())
    }

    /// Over this wire, with these logics. With any, this must be called inside of a Tokio runtime.
    pub(crate) fn with_logics(wire: Arc<dyn Wire>, logics: Logics) -> Self {
        let locals = logics.start(Arc::clone(&wire));
        Self(Arc::new(Inner { wire, locals, slots: Mutex::default() }))
    }

    /// What is known of the local logics and their data.
    #[must_use]
    pub fn local_stats(&self) -> LocalStats {
        self.0.locals.stats()
    }

    /// Switches a local logic on again that was switched off because its answers differed from the server's. False if
    /// there is none of this name.
    pub fn enable_local_logic(&self, name: &str) -> bool {
        self.0.locals.enable(name) > 0
    }

    pub(crate) fn locals(&self) -> &Locals {
        &self.0.locals
    }

    pub(crate) fn wire(&self) -> &dyn Wire {
        &*self.0.wire
    }

    /// The slot of a method, made at its first use.
    pub(crate) fn slot<M: Method>(&self) -> Slot<M> {
        let mut slots = self.0.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || -> Arc<dyn Any + Send + Sync> {
            let policy: &'static MethodPolicy = const { &M::POLICY };
            Arc::new(SlotInner::<M> {
                policy,
                evaluator: self.0.locals.evaluator::<M>(),
                flights: Flights::default(),
                counts: Counts::default(),
            })
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
