//! One call as its attempts need it, and the head of each.

use crate::{Error, MethodPolicy};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version,
    header::{CONTENT_TYPE, TE, USER_AGENT},
    uri::{Authority, PathAndQuery, Scheme},
};
use mesh_layers::{metadata, timeout};
use mesh_policy::{Idempotency, Scope};
use mesh_routing::retry::Retry;
use std::time::Instant;
use tracing::Span;

/// What a call of the SDK is said to come from.
const AGENT: HeaderValue = HeaderValue::from_static(concat!("grpc-rust-cellmesh/", env!("CARGO_PKG_VERSION")));
/// gRPC with protobuf.
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
/// What gRPC asks of every request.
const TRAILERS: HeaderValue = HeaderValue::from_static("trailers");

/// One call as its attempts need it.
pub(crate) struct Job<'c> {
    /// `/package.Service/Method`.
    pub path: PathAndQuery,
    /// Where it may run.
    pub scope: Scope,
    /// What a repeated call does.
    pub side_effects: Idempotency,
    /// Whether it may be sent again once it may have been processed.
    pub repeatable: bool,
    /// The user key.
    pub key: Option<&'c [u8]>,
    /// Whether the key is in metadata, since the message has none.
    pub hint: bool,
    /// Whether the message names other users than the key too: an answer about a user's home may speak of any of them.
    pub among_others: bool,
    /// It is less urgent than its policy says.
    pub non_core: bool,
    /// The one message in its frame.
    pub frame: Bytes,
    /// Metadata of the caller's own.
    pub metadata: Option<&'c HeaderMap>,
    /// When it ends at the latest.
    pub deadline: Instant,
    /// Whether it must go through a router.
    pub no_direct: bool,
}

impl<'c> Job<'c> {
    /// A call of a method by what its `.proto` says.
    ///
    /// # Errors
    /// If its path is none.
    pub fn new(policy: &MethodPolicy, frame: Bytes, key: Option<&'c [u8]>, deadline: Instant) -> Result<Self, Error> {
        let path = PathAndQuery::from_maybe_shared(Bytes::from_static(policy.path.as_bytes()));
        let path = path
            .map_err(|error| Error::new(crate::Code::Internal, format!("path \"{}\" is none: {error}", policy.path)))?;
        Ok(Self {
            scope: policy.scope,
            side_effects: policy.side_effects,
            repeatable: policy.repeatable(),
            key,
            frame,
            no_direct: false,
            ..Self::by_router(path, deadline)
        })
    }

    /// A call of a method of which nothing is known, through a router.
    pub fn by_router(path: PathAndQuery, deadline: Instant) -> Self {
        Self {
            path,
            scope: Scope::Local,
            side_effects: Idempotency::Unknown,
            repeatable: false,
            key: None,
            hint: false,
            among_others: false,
            non_core: false,
            frame: Bytes::new(),
            metadata: None,
            deadline,
            no_direct: true,
        }
    }

    /// `package.Service`.
    pub fn service(&self) -> &str {
        names(self.path.path()).0
    }

    /// The attempts of this call.
    pub fn retry(&self) -> Retry {
        let message = self.frame.len().saturating_sub(mesh_layers::frame::HEADER_LEN);
        Retry::of_client(message, self.repeatable, self.deadline)
    }

    /// The head of an attempt.
    pub fn head(&self, to: &Authority, epoch: Option<&HeaderValue>, span: &Span, now: Instant) -> Request<()> {
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = uri(to.clone(), self.path.clone());
        *request.headers_mut() = self.headers(epoch, span, now);
        request
    }

    fn headers(&self, epoch: Option<&HeaderValue>, span: &Span, now: Instant) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(12);
        if let Some(metadata) = self.metadata {
            for (name, value) in metadata.iter().filter(|(name, _)| !is_reserved(name)) {
                headers.append(name, value.clone());
            }
        }
        headers.insert(TE, TRAILERS);
        headers.entry(CONTENT_TYPE).or_insert(GRPC);
        headers.entry(USER_AGENT).or_insert(AGENT);
        let mut left = timeout::format(self.deadline.saturating_duration_since(now));
        // Never indexed by HPACK: no value comes twice, and they would push others out of its table.
        left.set_sensitive(true);
        headers.insert(metadata::GRPC_TIMEOUT, left);
        if let Some(epoch) = epoch {
            headers.insert(metadata::MAP_EPOCH, epoch.clone());
        }
        if let Some(key) = self.key.filter(|_| self.hint) {
            let (name, mut value) = metadata::user_value(key);
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        if self.non_core {
            headers.insert(metadata::PRIORITY, metadata::NON_CORE);
        }
        mesh_layers::trace::write(span, &mut headers);
        if let Some(parent) = headers.get_mut(metadata::TRACEPARENT) {
            parent.set_sensitive(true);
        }
        headers
    }
}

/// Service and method of a path.
pub(super) fn names(path: &str) -> (&str, &str) {
    path.trim_start_matches('/').split_once('/').unwrap_or((path, ""))
}

fn uri(authority: Authority, path: PathAndQuery) -> Uri {
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(authority);
    parts.path_and_query = Some(path);
    Uri::from_parts(parts).expect("a scheme, an authority and a path are a uri")
}

/// What the mesh writes itself, or HTTP/2 has not. A user key or priority of the caller's own is no claim but a hint.
fn is_reserved(name: &HeaderName) -> bool {
    let name = name.as_str();
    let hint = || [metadata::USER, metadata::USER_BIN, metadata::PRIORITY].iter().any(|hint| hint.as_str() == name);
    let hop = ["te", "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "host"];
    hop.contains(&name) || name == "grpc-timeout" || (name.starts_with(metadata::PREFIX) && !hint())
}
