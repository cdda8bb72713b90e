//! The mesh as a client sees it: one for each process.

use crate::{
    CallOptions, Colocated, Connector, Error, LocalLogic, LocalSettings, LocalStats, Method, MethodPolicy, MethodStats,
    RetryBudget, Settings, Slot, State, Stats, fanout, ladder,
    local::{Locals, Logics},
    network::{self, Network},
    restrict::Restrictions,
    slot::{AnySlot, SlotInner},
    wire::Wire,
};
use arc_swap::ArcSwap;
use hashbrown::HashMap;
use mesh_proto::control_v1;
use std::{
    any::{Any, TypeId},
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// Deadline of calls that neither caller nor policy gives one.
const DEFAULT_DEADLINE: Duration = Duration::from_secs(5);
/// Longest deadline of calls whose policy names none.
const MAX_DEADLINE: Duration = Duration::from_secs(60);

/// The mesh as a client sees it: its cells, the ways to them, what is known here. One for each process; cheap to clone.
#[derive(Clone)]
pub struct Mesh(Arc<Inner>);

struct Inner {
    wire: Arc<dyn Wire>,
    /// What the wire is made of; none where it is for tests of callers' code.
    network: Option<network::Handle>,
    settings: Settings,
    locals: Locals,
    restrictions: ArcSwap<Restrictions>,
    slots: Mutex<Slots>,
}

/// By the method's type: two crates that generate the same method have a slot each.
type Slots = HashMap<TypeId, Arc<dyn AnySlot>>;

/// Builds a [`Mesh`].
///
/// ```
/// # async fn demo() -> Result<(), client_sdk::Error> {
/// use client_sdk::{Mesh, State};
///
/// let mesh = Mesh::builder().seeds(["127.0.0.1:7000", "127.0.0.1:7010"]).last_good("mesh.bin").build()?;
/// assert_eq!(mesh.state(), State::Starting);
/// mesh.ready().await?; // need not be waited for: until then calls go through the seeds
/// # Ok(()) }
/// ```
#[derive(Debug, Default)]
pub struct MeshBuilder {
    network: network::Settings,
    pub(crate) settings: Settings,
    pub(crate) logics: Logics,
}

impl MeshBuilder {
    /// Front doors of routers, `host:port`, those of the nearest cell first: they are asked in this order what there is
    /// to know.
    #[must_use]
    pub fn seeds<S: Into<String>>(mut self, seeds: impl IntoIterator<Item = S>) -> Self {
        self.network.seeds = seeds.into_iter().map(Into::into).collect();
        self
    }

    /// A file in which the last good copy of what routers told is kept, so that a process that starts while no router
    /// answers finds its way. A copy that is damaged is as good as none. One process each.
    #[must_use]
    pub fn last_good(mut self, path: impl Into<PathBuf>) -> Self {
        self.network.last_good = Some(path.into());
        self
    }

    /// How connections are made; [`Tcp`](crate::Tcp) if nothing is said.
    #[must_use]
    pub fn connector(mut self, connector: impl Connector) -> Self {
        self.network.connector = Arc::new(connector);
        self
    }

    /// Most connections to each address (4). They are made when those that stand are crowded.
    #[must_use]
    pub fn connections(mut self, most: usize) -> Self {
        self.network.links = most.max(1);
        self
    }

    /// Most calls in flight on each connection (100). Further ones wait, within their deadlines.
    #[must_use]
    pub fn calls_per_connection(mut self, most: u32) -> Self {
        self.network.streams = most.max(1);
        self
    }

    /// Longest wait for a connection (1 s).
    #[must_use]
    pub fn connect_timeout(mut self, longest: Duration) -> Self {
        self.network.connect_timeout = longest;
        self
    }

    /// Time between two HTTP/2 pings of a connection (5 s) and the longest wait for an answer (3 s), after which it is
    /// given up; `None`: connections are not pinged.
    #[must_use]
    pub fn keep_alive(mut self, every: Option<Duration>, longest: Duration) -> Self {
        self.network.ping_every = every;
        self.network.ping_timeout = longest;
        self
    }

    /// How many calls to each cell may be sent again.
    #[must_use]
    pub fn retry_budget(mut self, budget: RetryBudget) -> Self {
        self.network.retries = budget;
        self
    }

    /// Largest response message, in bytes after decompression (4 MiB).
    #[must_use]
    pub fn max_response_bytes(mut self, most: usize) -> Self {
        self.network.max_response = most;
        self
    }

    /// Services of a cell that run in this process: calls to them need no socket. May be given more than once.
    #[must_use]
    pub fn colocated(mut self, services: Colocated) -> Self {
        self.network.colocated.push(services);
        self
    }

    /// What the mesh does for all calls: coalescing, batching, spans.
    #[must_use]
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

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

    /// The mesh. Waits for no router: the first calls go through the seeds, or straight to their cells by the last good
    /// copy, which is read here. Call it within a tokio runtime.
    ///
    /// # Errors
    /// If there is no seed, one is no address, or there is no tokio runtime.
    pub fn build(self) -> Result<Mesh, Error> {
        let handle = Network::start(self.network)?;
        let wire: Arc<dyn Wire> = Arc::clone(&handle.network) as Arc<dyn Wire>;
        let news = handle.network.restrictions();
        let mesh = Mesh::made(wire, Some(handle), self.settings, self.logics);
        tokio::spawn(follow(news, Arc::downgrade(&mesh.0)));
        Ok(mesh)
    }
}

impl std::fmt::Debug for Mesh {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mesh").field("state", &self.state()).finish_non_exhaustive()
    }
}

impl Mesh {
    /// How a mesh is reached.
    #[must_use]
    pub fn builder() -> MeshBuilder {
        MeshBuilder::default()
    }

    /// Over this wire, with these settings and logics. With any logic, call it inside of a Tokio runtime.
    pub(crate) fn made(
        wire: Arc<dyn Wire>,
        network: Option<network::Handle>,
        settings: Settings,
        logics: Logics,
    ) -> Self {
        let locals = logics.start(Arc::clone(&wire));
        let (restrictions, slots) = (ArcSwap::default(), Mutex::default());
        Self(Arc::new(Inner { wire, network, settings, locals, restrictions, slots }))
    }

    /// Over this wire, with these settings.
    pub(crate) fn over(wire: Arc<dyn Wire>, settings: Settings) -> Self {
        Self::made(wire, None, settings, Logics::default())
    }

    /// How much is known of the mesh.
    #[must_use]
    pub fn state(&self) -> State {
        self.network().map_or(State::Ready, Network::state)
    }

    /// Waits until a router has told what there is to know. Nobody need wait for it: until then calls go through the
    /// seeds. Cancel-safe.
    ///
    /// # Errors
    /// UNAVAILABLE once the mesh is closed.
    pub async fn ready(&self) -> Result<(), Error> {
        match self.network() {
            Some(network) => network.ready().await,
            None => Ok(()),
        }
    }

    /// Sends no more calls and hears no more news; calls on their way end as they do. Dropping the last clone does the
    /// same.
    pub fn close(&self) {
        if let Some(network) = self.network() {
            network.close();
        }
    }

    /// Lets the cell map go over to another history, as an operator has decided: one of this incarnation is taken if its
    /// incarnation is higher than that of the map in force.
    pub fn adopt_incarnation(&self, incarnation: u64) {
        if let Some(network) = self.network() {
            network.adopt(incarnation);
        }
    }

    /// What was counted since the mesh was made.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let (cells, routers) = self.network().map(Network::stats).unwrap_or_default();
        let mut methods = BTreeMap::<&str, MethodStats>::new();
        for slot in self.0.slots().values() {
            let stats = slot.stats();
            methods.entry(stats.path).and_modify(|other| other.add(&stats)).or_insert(stats);
        }
        Stats { methods: methods.into_values().collect(), cells, routers }
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

    pub(crate) fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// What the wire is made of.
    pub(crate) fn network(&self) -> Option<&Network> {
        self.0.network.as_ref().map(|handle| &*handle.network)
    }

    pub(crate) fn wire(&self) -> &dyn Wire {
        &*self.0.wire
    }

    /// The slot of a method, made at its first use.
    pub(crate) fn slot<M: Method>(&self) -> Slot<M> {
        let mut slots = self.0.slots();
        let slot = slots.entry(TypeId::of::<M>()).or_insert_with(|| {
            let slot = SlotInner::<M>::new(self.0.locals.evaluator::<M>());
            slot.restrict(&self.0.restrictions.load());
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
        let deadline = self.deadline_within(now, options.deadline, policy.default_deadline, policy.max_deadline);
        deadline.map_err(|error| error.in_method(policy.path))
    }

    /// The same of a call whose policy names these deadlines.
    pub(crate) fn deadline_within(
        &self,
        now: Instant,
        asked: Option<Duration>,
        default: Option<Duration>,
        max: Option<Duration>,
    ) -> Result<Instant, Error> {
        let (default, max) = (default.unwrap_or(DEFAULT_DEADLINE), max.unwrap_or(MAX_DEADLINE));
        let deadline = ladder::deadline(now, asked, default, max);
        let served = mesh_layers::CallContext::with_current(|call| call.deadline() - mesh_layers::propagate::MARGIN);
        let deadline = [served, fanout::scoped()].into_iter().flatten().fold(deadline, Instant::min);
        if deadline <= now { Err(Error::deadline_exceeded()) } else { Ok(deadline) }
    }
}

impl Inner {
    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts restrictions in force instead of those before.
    fn restrict(&self, restrictions: Restrictions) {
        let slots = self.slots();
        slots.values().for_each(|slot| slot.restrict(&restrictions));
        // Under the lock: a slot made from now on reads these.
        self.restrictions.store(Arc::new(restrictions));
    }
}

#[cfg(test)]
impl Mesh {
    pub(crate) fn locals(&self) -> &Locals {
        &self.0.locals
    }

    /// Puts restrictions in force instead of those before.
    pub(crate) fn restrict(&self, restrictions: Restrictions) {
        self.0.restrict(restrictions);
    }
}

/// Puts in force what routers tell, as long as there is a mesh.
async fn follow(mut news: watch::Receiver<Arc<control_v1::Restrictions>>, mesh: Weak<Inner>) {
    news.mark_changed();
    while news.changed().await.is_ok() {
        let told = Arc::clone(&news.borrow_and_update());
        let Some(mesh) = mesh.upgrade() else { return };
        mesh.locals.switches().restrict(&told.logics);
        mesh.restrict(Restrictions::from(&*told));
    }
}
