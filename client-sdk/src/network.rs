//! The way to the cells: everything below [`Wire`].
//!
//! A call is decided by what is known of the mesh ([`world`]), sent over a few HTTP/2 connections to an address
//! ([`pool`], [`link`]), and sent again as its policy, a budget and its deadline allow ([`attempt`]). One task hears from
//! the routers what changes ([`watch`]).

mod answer;
mod attempt;
mod body;
mod colocated;
mod connect;
mod job;
mod link;
mod owners;
mod pass;
mod pool;
mod settings;
mod span;
mod stream;
mod tally;
mod watch;
mod world;

pub use colocated::Colocated;
pub use connect::{Connecting, Connector, InMemory, Incoming, Io, Tcp};
pub use tally::CellStats;
pub use watch::State;

pub(crate) use job::Job;
pub(crate) use settings::Settings;

use crate::{
    Code, Error, MethodPolicy,
    wire::{Destination, Wire, WireCall, WireReply, WireStream},
};
use arc_swap::ArcSwap;
use attempt::{Progress, Rest, Until};
use cell_map::CellId;
use futures_util::future::BoxFuture;
use http::uri::Authority;
use mesh_layers::{Reason, frame::HEADER_LEN};
use mesh_proto::control_v1::Restrictions;
use owners::Owners;
use pool::{Pool, Pools};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};
use stream::Opened;
use tally::Tallies;
use tokio::{sync::watch as watch_channel, task::AbortHandle};
use watch::Watching;
use world::{Parts, World};

/// Largest request message where the policy names none, in bytes.
const MAX_REQUEST: usize = 4 << 20;
/// What calls within this process name as authority.
static INSIDE: LazyLock<Authority> = LazyLock::new(|| Authority::from_static("cellmesh"));

/// The way to the cells.
pub(crate) struct Network {
    settings: Arc<Settings>,
    pools: Pools,
    seeds: Vec<Arc<Pool>>,
    tallies: Tallies,
    world: ArcSwap<World>,
    owners: Owners,
    watching: Watching,
    restrictions: watch_channel::Sender<Arc<Restrictions>>,
    chance: AtomicU64,
    origin: Instant,
}

/// A network that ends with this handle.
pub(crate) struct Handle {
    pub network: Arc<Network>,
    watch: AbortHandle,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

impl Network {
    /// Starts to watch the mesh; waits for nothing but the disk, if there is a last good copy.
    ///
    /// # Errors
    /// If there is no seed, one is no address, or this is not within a tokio runtime.
    pub fn start(settings: Settings) -> Result<Handle, Error> {
        let bad = |what: String| Error::new(Code::InvalidArgument, what);
        if settings.seeds.is_empty() {
            return Err(bad("a mesh needs at least one seed: the front door of a router".to_owned()));
        }
        if let Some(seed) = settings.seeds.iter().find(|seed| pool::authority(seed).is_none()) {
            return Err(bad(format!("seed \"{seed}\" is no address like \"127.0.0.1:7000\"")));
        }
        let runtime = tokio::runtime::Handle::try_current()
            .map_err(|_| Error::new(Code::FailedPrecondition, "a mesh is made within a tokio runtime"))?;
        let (settings, origin) = (Arc::new(settings), Instant::now());
        let pools = Pools::new(Arc::clone(&settings), runtime.clone(), origin);
        let tallies = Tallies::new(settings.retries);
        let seeds = world::pools(settings.seeds.iter(), &pools, &tallies.routers);
        let known = watch::recall(&settings);
        let parts = Parts { pools: &pools, tallies: &tallies, colocated: &settings.colocated, seeds: &seeds };
        let world = ArcSwap::from_pointee(World::new(&known, &parts));
        let watching = Watching::new(&known);
        let chance = AtomicU64::new(rand::random());
        let owners = Owners::default();
        let restrictions = watch_channel::Sender::new(Arc::new(known.restrictions.clone()));
        let network =
            Arc::new(Self { settings, pools, seeds, tallies, world, owners, watching, restrictions, chance, origin });
        let watch = runtime.spawn(watch::run(Arc::clone(&network), known)).abort_handle();
        Ok(Handle { network, watch })
    }

    /// How much is known.
    pub fn state(&self) -> State {
        self.watching.state()
    }

    /// Waits until what is known is confirmed by a router.
    ///
    /// # Errors
    /// If the mesh is closed.
    pub async fn ready(&self) -> Result<(), Error> {
        self.watching.ready().await
    }

    /// Sends no more calls and hears no more news.
    pub fn close(&self) {
        self.watching.close();
    }

    /// Lets maps of this incarnation replace those of another history.
    pub fn adopt(&self, incarnation: u64) {
        self.watching.adopt(incarnation);
    }

    /// Changes of what clients may do less than their policies say.
    pub fn restrictions(&self) -> watch_channel::Receiver<Arc<Restrictions>> {
        self.restrictions.subscribe()
    }

    /// What was counted, by cell, and of calls whose cell was not known.
    pub fn stats(&self) -> (BTreeMap<CellId, CellStats>, CellStats) {
        self.tallies.read()
    }

    fn is_closed(&self) -> bool {
        self.watching.is_closed()
    }

    fn parts(&self) -> Parts<'_> {
        let (pools, tallies, seeds) = (&self.pools, &self.tallies, &self.seeds);
        Parts { pools, tallies, colocated: &self.settings.colocated, seeds }
    }

    /// A random number (splitmix64), good enough to spread load.
    fn chance(&self) -> u64 {
        let mut x = self.chance.fetch_add(0x9E37_79B9_7F4A_7C15, Relaxed);
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    }

    /// Tightens a call by the restrictions in force.
    fn restrict(&self, job: &mut Job<'_>) {
        let of = self.world.load().restrictions.of(job.path.path());
        job.no_direct |= of.no_direct;
        job.repeatable &= !of.no_retry;
        if let Some(max) = of.max_deadline {
            job.deadline = job.deadline.min(Instant::now() + max);
        }
    }

    fn job<'c>(&self, call: &'c WireCall) -> Result<Job<'c>, Error> {
        let policy = call.policy;
        let limit = policy.max_request_bytes.map_or(MAX_REQUEST, |bytes| bytes as usize);
        if call.frame.len() > limit + HEADER_LEN {
            let message = format!("message is larger than {limit} bytes");
            let info = vec![("limit".to_owned(), limit.to_string())];
            return Err(answer::of_mesh(Reason::MessageTooLarge, Code::ResourceExhausted, message, info));
        }
        let key = call.key.as_ref().map(cell_map::UserKey::as_bytes);
        let mut job = Job::new(policy, call.frame.clone(), key, call.deadline)?;
        job.metadata = call.metadata.as_deref();
        job.hint = call.wants.key_in_metadata;
        job.repeatable &= !call.wants.no_retry;
        job.among_others = call.wants.among_others;
        job.non_core = call.wants.non_core;
        job.no_direct |= call.wants.by_router;
        self.restrict(&mut job);
        Ok(job)
    }

    async fn unary_call(&self, call: &WireCall) -> Result<WireReply, Error> {
        let job = self.job(call)?;
        let mut progress = Progress::default();
        let landed = self.answer(&job, Until::End, &mut progress).await?;
        let answer = landed.answer();
        if !answer.is_ok() {
            return Err(progress.failed(&answer));
        }
        let (tally, attempts) = (progress.tally.as_ref(), progress.sent);
        let (cell, hops, token) = (tally.and_then(|tally| answer.cell(tally)), answer.hops(), answer.token());
        match landed.rest {
            Rest::Whole(Some(message), _) => Ok(WireReply { message, cell, attempts, hops, token }),
            _ => Err(progress.note(Error::new(Code::Internal, "the response has status OK and no message"))),
        }
    }

    async fn open_stream(&self, call: &WireCall) -> Result<Opened, Error> {
        let job = self.job(call)?;
        let mut progress = Progress::default();
        let landed = self.answer(&job, Until::First, &mut progress).await?;
        Opened::new(landed, progress, call.policy.path, job.deadline)
    }
}

impl Wire for Network {
    fn unary(&self, call: WireCall) -> BoxFuture<'_, Result<WireReply, Error>> {
        Box::pin(async move { self.unary_call(&call).await.map_err(|error| error.in_method(call.policy.path)) })
    }

    fn stream(&self, call: WireCall) -> BoxFuture<'_, Result<Box<dyn WireStream>, Error>> {
        Box::pin(async move {
            match self.open_stream(&call).await {
                Ok(opened) => Ok(Box::new(opened) as Box<dyn WireStream>),
                Err(error) => Err(error.in_method(call.policy.path)),
            }
        })
    }

    fn destination(&self, policy: &MethodPolicy, key: Option<&[u8]>) -> Destination {
        let world = self.world.load();
        let cell = world.cell(policy.scope, key, &self.owners);
        let direct = cell.filter(|_| !world.restrictions.of(policy.path).no_direct);
        direct.map_or(Destination::Router, |cell| Destination::Cell(cell.clone()))
    }
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Network").field("seeds", &self.settings.seeds).field("state", &self.state()).finish()
    }
}
