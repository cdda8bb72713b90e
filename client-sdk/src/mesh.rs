//! The mesh as a client sees it: one for each process.

use crate::{
    CallOptions, Colocated, Connector, Error, Method, MethodPolicy, RetryBudget, Slot, State, Stats,
    flight::Flights,
    ladder,
    network::{self, Network, Restrictions},
    slot::{Counts, SlotInner},
    wire::Wire,
};
use hashbrown::HashMap;
use std::{
    any::Any,
    path::PathBuf,
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
    /// What the wire is made of; none where it is for tests of callers' code.
    network: Option<network::Handle>,
    slots: Mutex<HashMap<&'static str, Arc<dyn Any + Send + Sync>>>,
}

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
#[derive(Clone, Debug, Default)]
pub struct MeshBuilder {
    network: network::Settings,
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

    /// The mesh. Waits for no router: the first calls go through the seeds, or straight to their cells by the last good
    /// copy, which is read here. Call it within a tokio runtime.
    ///
    /// # Errors
    /// If there is no seed, one is no address, or there is no tokio runtime.
    pub fn build(self) -> Result<Mesh, Error> {
        let handle = Network::start(self.network)?;
        let wire: Arc<dyn Wire> = Arc::clone(&handle.network) as Arc<dyn Wire>;
        Ok(Mesh(Arc::new(Inner { wire, network: Some(handle), slots: Mutex::default() })))
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

    /// Over this wire.
    pub(crate) fn over(wire: Arc<dyn Wire>) -> Self {
        Self(Arc::new(Inner { wire, network: None, slots: Mutex::default() }))
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
        Stats { cells, routers }
    }

    /// What the mesh allows its clients less than their policies say.
    pub(crate) fn restrictions(&self) -> Arc<Restrictions> {
        self.network().map(Network::restrictions).unwrap_or_default()
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
        let deadline = self.deadline_within(options.deadline, policy.default_deadline, policy.max_deadline);
        deadline.map_err(|error| error.in_method(policy.path))
    }

    /// The same of a call whose policy names these deadlines.
    pub(crate) fn deadline_within(
        &self,
        asked: Option<Duration>,
        default: Option<Duration>,
        max: Option<Duration>,
    ) -> Result<Instant, Error> {
        let (default, max) = (default.unwrap_or(DEFAULT_DEADLINE), max.unwrap_or(MAX_DEADLINE));
        let now = Instant::now();
        let deadline = ladder::deadline(now, asked, default, max);
        let served = mesh_layers::CallContext::with_current(|call| call.deadline() - mesh_layers::propagate::MARGIN);
        let deadline = served.map_or(deadline, |served| served.min(deadline));
        if deadline <= now { Err(Error::deadline_exceeded()) } else { Ok(deadline) }
    }
}
