//! The one message of a unary call: read, checked and inflated before any handler runs.

use super::{Around, Malformed, MethodRules, Methods, Next, Request, Response};
use crate::{
    CallContext, MeshError, Reason,
    budget::ByteBudget,
    frame::{self, Encoding},
    hint,
    metadata::GRPC_ENCODING,
};
use http_body_util::Full;
use std::sync::Arc;
use tonic::body::Body;

/// Reads requests of methods whose request is one message; others pass untouched.
#[derive(Clone, Debug)]
pub struct Messages {
    methods: Arc<Methods>,
    default_limit: usize,
    budget: ByteBudget,
}

impl Messages {
    /// Messages of at most `default_limit` bytes where the method does not say, paid from the connection's budget (a
    /// [`ByteBudget`] in the request's extensions) or else from `budget`.
    #[must_use]
    pub fn new(methods: Arc<Methods>, default_limit: usize, budget: ByteBudget) -> Self {
        Self { methods, default_limit, budget }
    }

    async fn read(&self, request: Request, rules: &MethodRules) -> Result<Request, MeshError> {
        let limit = rules.max_request_bytes.unwrap_or(self.default_limit);
        let (mut parts, body) = request.into_parts();
        let encoding = Encoding::of(&parts.headers)?;
        let budget = parts.extensions.get::<ByteBudget>().unwrap_or(&self.budget);
        let collected = frame::collect(body, encoding, limit, budget).await?;
        if let Some(call) = parts.extensions.get::<CallContext>() {
            if let Some((route_key, user)) = rules.route_key.as_ref().zip(call.user_hint()) {
                hint::check(route_key, &collected.message(), user.as_bytes())?;
            }
            call.keep(collected.held);
        }
        parts.headers.remove(GRPC_ENCODING);
        Ok(Request::from_parts(parts, Body::new(Full::new(collected.frame))))
    }
}

impl Around for Messages {
    async fn around<N: Next>(self, request: Request, next: N) -> Response {
        let rules = self.methods.get(request.uri().path()).map(|method| &method.rules);
        let Some(rules) = rules.filter(|rules| rules.unary_request) else {
            return next.answer(request).await;
        };
        match self.read(request, rules).await {
            Ok(request) => next.answer(request).await,
            Err(error) => refuse(error),
        }
    }
}

fn refuse(error: MeshError) -> Response {
    // Cancelled: broken off in the middle. Nobody reads the answer, but who does it often is found out by the mark.
    let malformed = matches!(error.reason(), Reason::BadRequest | Reason::MessageTooLarge | Reason::Cancelled);
    let mut response: Response = error.into_http();
    if malformed {
        response.extensions_mut().insert(Malformed);
    }
    response
}
