//! What one worker thread has of its own: its connections to instances and routers.

use crate::{
    brain::Brain,
    config::RouterConfig,
    method::Method,
    pass::Place,
    trace::Tracing,
    upstream::{Flight, Links, Target, Unsent},
    world::{Endpoint, World},
};
use bytes::Bytes;
use http::{HeaderValue, Request};
use mesh_layers::{budget::ByteBudget, metadata, timeout, trust::PeerToken};
use mesh_routing::balance;
use service_runtime::config::LimitsConfig;
use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

/// What all workers share besides the brain.
#[derive(Debug)]
pub struct Common {
    /// What the router knows and decides by.
    pub brain: Brain,
    /// What a listener grants.
    pub limits: LimitsConfig,
    /// `[router]`
    pub router: RouterConfig,
    /// The token of peers.
    pub token: Option<PeerToken>,
    /// Bytes of messages held, of all connections.
    pub budget: ByteBudget,
    /// Services that the router answers itself, as `/package.Service/`.
    pub own_services: Vec<String>,
    /// Spans.
    pub tracing: Tracing,
}

/// One worker thread's share of the router.
#[derive(Debug)]
pub struct Worker {
    /// What all workers share.
    pub common: Arc<Common>,
    targets: Mutex<Vec<Option<Arc<Target>>>>,
    origin: Instant,
    chance: AtomicU64,
}

impl Worker {
    /// Has no connections yet.
    #[must_use]
    pub fn new(common: Arc<Common>, seed: u64) -> Self {
        Self { common, targets: Mutex::default(), origin: Instant::now(), chance: AtomicU64::new(seed) }
    }

    /// What the router knows.
    #[must_use]
    pub fn brain(&self) -> &Brain {
        &self.common.brain
    }

    /// A random number (splitmix64), good enough to spread load.
    pub fn chance(&self) -> u64 {
        let mut x = self.chance.fetch_add(0x9E37_79B9_7F4A_7C15, Relaxed);
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    }

    /// Connects to everything in the world and gives up what is no longer in it. Call it on the worker's runtime.
    pub fn follow(&self, world: Option<&World>) {
        let ways = world.map_or(&[][..], World::ways).iter();
        let wanted = ways.chain([self.brain().worlds.instances()]).flat_map(|way| &way.endpoints);
        let mut targets = self.targets();
        let mut old = std::mem::take(&mut *targets);
        for endpoint in wanted {
            if targets.len() <= endpoint.slot {
                targets.resize(endpoint.slot + 1, None);
            }
            let kept = old.get_mut(endpoint.slot).and_then(Option::take);
            targets[endpoint.slot] = targets[endpoint.slot].take().or(kept).or_else(|| Some(self.connect(endpoint)));
        }
    }

    fn connect(&self, endpoint: &Arc<Endpoint>) -> Arc<Target> {
        let router = &self.common.router;
        let links = Links { least: router.upstream_connections, most: router.upstream_connections_max };
        Arc::new(Target::connect(Arc::clone(endpoint), links, self.origin))
    }

    /// Sends a request to a place, by the power of two choices among its addresses for this method.
    ///
    /// # Errors
    /// If nothing could be sent.
    pub fn send(&self, place: &Place, method: &Method, head: Request<()>, body: Bytes) -> Result<Flight, Unsent> {
        let target = self.choose(place.endpoints(method)).ok_or(Unsent)?;
        target.send(head, body, self.chance())
    }

    fn choose(&self, endpoints: &[Arc<Endpoint>]) -> Option<Arc<Target>> {
        let targets = self.targets();
        let target = |endpoint: &Arc<Endpoint>| targets.get(endpoint.slot)?.as_ref().filter(|target| target.is_live());
        if let [only] = endpoints {
            return target(only).cloned();
        }
        let live: Vec<&Arc<Target>> = endpoints.iter().filter_map(target).collect();
        let picked = balance::pick(live.len(), self.chance(), self.origin.elapsed(), |n| (live[n].gauge(), true))?;
        Some(Arc::clone(live[picked]))
    }

    /// Makes the head of one attempt of the caller's request.
    #[must_use]
    pub fn dress(&self, template: &Request<()>, place: &Place, deadline: Instant, now: Instant) -> Request<()> {
        let mut request = template.clone();
        let headers = request.headers_mut();
        let mut left = timeout::format(deadline.saturating_duration_since(now));
        left.set_sensitive(true);
        headers.insert(metadata::GRPC_TIMEOUT, left);
        headers.insert(metadata::HOPS, hops(place.believed.hops));
        headers.insert(metadata::MAP_EPOCH, place.world.epoch.clone());
        if let Some(token) = &self.common.token {
            headers.insert(metadata::PEER_TOKEN, token.header());
        }
        // Absent means 0.
        let asked = place.believed.asked;
        if asked.user.get() != 0 {
            headers.insert(metadata::USER_EPOCH, metadata::decimal(asked.user.get()));
        }
        if asked.bucket.get() != 0 {
            headers.insert(metadata::BUCKET_EPOCH, metadata::decimal(asked.bucket.get()));
        }
        request
    }

    fn targets(&self) -> MutexGuard<'_, Vec<Option<Arc<Target>>>> {
        self.targets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A number of hops as a header value.
#[must_use]
pub fn hops(hops: u32) -> HeaderValue {
    match hops {
        0 => HeaderValue::from_static("0"),
        1 => HeaderValue::from_static("1"),
        more => HeaderValue::from(more),
    }
}
