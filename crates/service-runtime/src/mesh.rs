//! Calls to other services: in this process where the service and its data are, else through this cell's router.

mod hosted;

pub use hosted::Hosted;

use cell_map::CellId;
use futures_util::future::BoxFuture;
use http_body_util::Full;
use map_store::MapWatch;
use mesh_layers::{
    CallContext, MeshError, Reason,
    budget::ByteBudget,
    error::{Details, Redirect},
    frame::{self, Encoding},
    layer::{Request, Response},
    metadata::{GRPC_ENCODING, UNPROCESSED},
    propagate,
    trust::{self, Believed, PeerToken, assert_as_peer},
};
use mesh_policy::{Idempotency, MethodPolicy, PolicyTable, Scope};
use std::{
    convert::Infallible,
    fmt,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tonic::{
    body::Body,
    transport::{Channel, Endpoint},
};
use tower::{ServiceExt, util::BoxCloneSyncService};

/// Connections to the router: one HTTP/2 connection is one lock.
const CONNECTIONS: usize = 4;
/// Message limit where the policy names none.
const DEFAULT_LIMIT: usize = 4 << 20;
/// What in-process calls may hold in memory at once.
const BUDGET: usize = 64 << 20;

/// A service with all its layers, in this process.
pub(crate) type Local = BoxCloneSyncService<Request, Response, Infallible>;

/// A channel for generated clients: `MemberServiceClient::new(context.mesh.clone())`. Cheap to clone.
///
/// A service hosted by this process is called without a socket, through the same layers, if the call may run in this
/// cell; when the database says that the user's home is elsewhere, the call goes to the router, like every other call.
/// Deadline and trace of the running call go along. It always answers; a router that does not is UNAVAILABLE.
#[derive(Clone)]
pub struct MeshChannel(Arc<Inner>);

struct Inner {
    cell: CellId,
    policies: Arc<PolicyTable>,
    maps: MapWatch,
    /// Makes in-process calls calls of a peer; known to this process only.
    token: PeerToken,
    local: RwLock<Option<(Local, Vec<&'static str>)>>,
    remote: Option<Remote>,
    budget: ByteBudget,
}

impl fmt::Debug for MeshChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeshChannel").field("cell", &self.0.cell).finish_non_exhaustive()
    }
}

/// The way to this cell's router.
struct Remote {
    channels: Vec<Channel>,
    next: AtomicUsize,
    token: Option<PeerToken>,
}

/// Where the router is.
#[derive(Clone, Debug)]
pub(crate) enum RouterAddress {
    /// Its front listener.
    Front(String),
    /// Its peer listener.
    Peer(String, PeerToken),
}

impl Remote {
    fn new(address: &RouterAddress) -> Result<Self, tonic::transport::Error> {
        let (address, token) = match address {
            RouterAddress::Front(address) => (address, None),
            RouterAddress::Peer(address, token) => (address, Some(token.clone())),
        };
        let url = if address.contains("://") { address.clone() } else { format!("http://{address}") };
        let endpoint = Endpoint::from_shared(url)?
            .connect_timeout(Duration::from_secs(2))
            .tcp_nodelay(true)
            .http2_keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(20))
            .keep_alive_while_idle(true);
        let channels = (0..CONNECTIONS).map(|_| endpoint.connect_lazy()).collect();
        Ok(Self { channels, next: AtomicUsize::new(0), token })
    }

    async fn call(&self, mut request: Request) -> Response {
        if let Some(token) = &self.token {
            assert_as_peer(token, Believed::default(), request.headers_mut());
        }
        let at = self.next.fetch_add(1, Ordering::Relaxed) % self.channels.len();
        match self.channels[at].clone().oneshot(request).await {
            Ok(response) => response.map(Body::new),
            Err(error) => {
                let why = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                tracing::debug!(%error, why, "router does not answer");
                MeshError::new(Reason::Unavailable, "this cell's router does not answer").into_http()
            }
        }
    }
}

impl MeshChannel {
    pub(crate) fn new(
        cell: CellId,
        policies: Arc<PolicyTable>,
        maps: MapWatch,
        router: Option<&RouterAddress>,
    ) -> Result<Self, tonic::transport::Error> {
        let secret: [u64; 4] = std::array::from_fn(|_| rand::random());
        let token = PeerToken::new(&secret.map(|part| format!("{part:016x}")).concat());
        Ok(Self(Arc::new(Inner {
            cell,
            policies,
            maps,
            token: token.expect("64 hex digits are a token"),
            local: RwLock::default(),
            remote: router.map(Remote::new).transpose()?,
            budget: ByteBudget::new(BUDGET),
        })))
    }

    /// The token that in-process calls come with.
    pub(crate) fn token(&self) -> PeerToken {
        self.0.token.clone()
    }

    /// Calls of these services stay in this process from now on.
    pub(crate) fn host(&self, local: Local, services: Vec<&'static str>) {
        *self.0.local.write().unwrap_or_else(PoisonError::into_inner) = Some((local, services));
    }

    /// Lets the hosted services go: they hold this channel, which holds them.
    pub(crate) fn close(&self) {
        *self.0.local.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    async fn call_mesh(self, mut request: Request) -> Response {
        if let Err(error) = propagate::outgoing(request.headers_mut(), propagate::MARGIN) {
            return error.into_http();
        }
        self.note(request.uri().path());
        let response = match self.hosted(request.uri().path()) {
            None => self.call_router(request).await,
            Some(local) => self.call_local(local, request).await,
        };
        disown(response)
    }

    /// What the running call makes others do counts as its own doing: once that may have taken effect, the call must not
    /// be sent again (OWN-9).
    fn note(&self, path: &str) {
        let policy = self.0.policies.method(path);
        if policy.is_none_or(|policy| policy.side_effects != Idempotency::NoSideEffects) {
            CallContext::with_current(CallContext::note_fenced_commit);
        }
    }

    /// The services of this process, if they may serve this method in this cell.
    fn hosted(&self, path: &str) -> Option<Local> {
        let here = match self.0.policies.method(path)?.scope {
            Scope::Global => self.0.maps.load().global_cell().id == self.0.cell,
            Scope::User | Scope::Replicated | Scope::Local => true,
        };
        let local = self.0.local.read().unwrap_or_else(PoisonError::into_inner);
        let (local, services) = local.as_ref()?;
        let service = path.strip_prefix('/')?.split('/').next()?;
        (here && services.contains(&service)).then(|| local.clone())
    }

    async fn call_local(&self, local: Local, mut request: Request) -> Response {
        assert_as_peer(&self.0.token, Believed::default(), request.headers_mut());
        let policy = self.0.policies.method(request.uri().path());
        let may_be_elsewhere = |policy: &&MethodPolicy| policy.scope == Scope::User && !policy.client_streaming;
        match policy.filter(may_be_elsewhere).filter(|_| self.0.remote.is_some()) {
            None => answer(local, request).await,
            Some(policy) => self.call_local_first(local, request, policy).await,
        }
    }

    /// Keeps the message, to send it on when the user turns out not to be at home here.
    async fn call_local_first(&self, local: Local, request: Request, policy: &MethodPolicy) -> Response {
        let (mut parts, body) = request.into_parts();
        let limit = policy.max_request_bytes.map_or(DEFAULT_LIMIT, |bytes| bytes as usize);
        let kept = match Encoding::of(&parts.headers) {
            Ok(encoding) => frame::collect(body, encoding, limit, &self.0.budget).await,
            Err(error) => Err(error.into()),
        };
        let kept = match kept {
            Ok(kept) => kept,
            Err(error) => return error.into_http(),
        };
        parts.headers.remove(GRPC_ENCODING);
        let request = || Request::from_parts(parts.clone(), Body::new(Full::new(kept.frame.clone())));
        let response = answer(local, request()).await;
        match Redirect::decode(response.headers()) {
            Some(Redirect::WrongCell { unprocessed: true, .. } | Redirect::Moving { unprocessed: true, .. }) => {
                let mut onward = request();
                // The token was for this process; a router that is asked at its front has no business with it.
                trust::strip(onward.headers_mut());
                self.call_router(onward).await
            }
            _ => response,
        }
    }

    async fn call_router(&self, request: Request) -> Response {
        match &self.0.remote {
            Some(remote) => remote.call(request).await,
            None => MeshError::new(Reason::Unavailable, "no router is configured").into_http(),
        }
    }
}

async fn answer(local: Local, request: Request) -> Response {
    let Ok(response) = local.oneshot(request).await;
    response
}

/// An ownership answer to *our* call says nothing about the call that we serve: passed on as it is, it would be taken
/// for a refusal by our own database.
fn disown(mut response: Response) -> Response {
    let details = Details::from_headers(response.headers());
    if details.and_then(|details| details.mesh_reason()).is_some_and(Reason::is_reserved) {
        let message = "the called service's user is at home elsewhere";
        return MeshError::new(Reason::Unavailable, message).retry_after(Duration::from_millis(50)).into_http();
    }
    response.headers_mut().remove(UNPROCESSED);
    response
}

impl tower::Service<Request> for MeshChannel {
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let this = self.clone();
        Box::pin(async move { Ok(this.call_mesh(request).await) })
    }
}
