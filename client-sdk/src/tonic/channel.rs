//! A channel for generated tonic clients.

use crate::{Code, Error, Mesh, network::Job, stream::NO_DEADLINE};
use ::tonic::{Status, body::Body};
use futures_util::future::BoxFuture;
use http::{HeaderMap, Request, Response};
use mesh_layers::{
    budget::ByteBudget,
    frame::{self, Encoding},
    metadata::{self, GRPC_ENCODING},
    timeout, trust,
};
use mesh_policy::{Idempotency, MethodPolicy, PolicyTable, Scope};
use std::{
    convert::Infallible,
    fmt,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

/// Bytes of requests that all calls of a channel may hold at once.
const HELD: usize = 256 << 20;
/// Largest request message where the policy names none, in bytes.
const MAX_REQUEST: usize = 4 << 20;
/// Deadline of calls whose method has no policy and whose caller gives none.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// A channel for generated tonic clients, in place of `tonic::transport::Channel`. Cheap to clone; always ready.
///
/// What it knows of methods it takes from descriptor sets. Unary calls and server streams of methods with a policy go
/// straight to the home of the user whose key is in the message, or in metadata `cellmesh-user`. Their message is held
/// until the answer begins, and sent again only if nobody has seen it, or the method has no side effects, or the
/// message has an idempotency key; larger ones than 64 KiB only if they were never sent. Other methods, client streams
/// and messages for several users go through a router.
#[derive(Clone)]
pub struct Channel(Arc<Inner>);

struct Inner {
    mesh: Mesh,
    policies: PolicyTable,
    budget: ByteBudget,
}

impl Channel {
    /// A channel into a mesh, for the methods in these encoded `google.protobuf.FileDescriptorSet`s.
    ///
    /// # Errors
    /// INVALID_ARGUMENT naming file, method and option of every policy at fault.
    pub fn new<'a>(mesh: &Mesh, descriptor_sets: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, Error> {
        let policies = PolicyTable::from_descriptor_sets(descriptor_sets);
        let policies = policies.map_err(|errors| Error::new(Code::InvalidArgument, errors.to_string()))?;
        Ok(Self(Arc::new(Inner { mesh: mesh.clone(), policies, budget: ByteBudget::new(HELD) })))
    }
}

impl Inner {
    async fn answer(&self, request: Request<Body>) -> Result<Response<Body>, Status> {
        let Some(network) = self.mesh.network() else {
            return Err(Status::unavailable("this mesh is made of mocks: it carries no channel"));
        };
        let (mut parts, body) = request.into_parts();
        let Some(path) = parts.uri.path_and_query().cloned() else {
            return Err(Status::internal("the request has no path"));
        };
        trust::strip(&mut parts.headers);
        let headers = &mut parts.headers;
        let asked = timeout::of(headers).map_err(mesh_layers::MeshError::from)?;
        match self.policies.method(path.path()).filter(|policy| !policy.client_streaming) {
            Some(policy) => {
                let limit = policy.max_request_bytes.map_or(MAX_REQUEST, |bytes| bytes as usize);
                let encoding = Encoding::of(headers).map_err(mesh_layers::MeshError::from)?;
                let collected = frame::collect(body, encoding, limit, &self.budget).await?;
                headers.remove(GRPC_ENCODING);
                let message = collected.message();
                let key = key(policy, &message, headers)?;
                // A server's stream runs on, unless somebody says otherwise.
                let endless = policy.server_streaming.then_some(NO_DEADLINE);
                let max = policy.max_deadline.or(endless);
                let default = policy.default_deadline.or(endless.and(max));
                let job = Job {
                    scope: policy.scope,
                    side_effects: policy.side_effects,
                    repeatable: is_repeatable(policy, &message),
                    key: key.as_deref(),
                    frame: collected.frame.clone(),
                    metadata: Some(headers),
                    ..Job::by_router(path, self.mesh.deadline_within(crate::ladder::now(), asked, default, max)?)
                };
                Ok(network.pass(Job { no_direct: false, ..job }).await?)
            }
            None => {
                let deadline = self.mesh.deadline_within(crate::ladder::now(), asked, Some(LONGEST), Some(LONGEST))?;
                let job = Job { metadata: Some(headers), ..Job::by_router(path, deadline) };
                Ok(network.pass_on(job, body).await?)
            }
        }
    }
}

/// The user key that routes a call: the message's, else that in metadata. None for several: a router divides such a call.
fn key(policy: &MethodPolicy, message: &[u8], headers: &HeaderMap) -> Result<Option<Vec<u8>>, Status> {
    if policy.scope != Scope::User {
        return Ok(None);
    }
    let found = policy.route_key.as_ref().map_or(Ok(None), |route_key| route_key.extract(message));
    match found {
        Ok(Some(key)) => Ok(Some(key.to_vec())),
        Ok(None) => Ok(metadata::user_bytes(headers)?.map(std::borrow::Cow::into_owned)),
        // Several keys, which a router divides; or a malformed message, which it explains.
        Err(_) => Ok(None),
    }
}

fn is_repeatable(policy: &MethodPolicy, message: &[u8]) -> bool {
    let key = || policy.idempotency_key.as_ref().and_then(|key| key.extract(message).ok().flatten());
    policy.side_effects != Idempotency::Unknown || key().is_some()
}

impl tower::Service<Request<Body>> for Channel {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let inner = Arc::clone(&self.0);
        Box::pin(async move { Ok(inner.answer(request).await.unwrap_or_else(Status::into_http)) })
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").field("mesh", &self.0.mesh).finish_non_exhaustive()
    }
}
