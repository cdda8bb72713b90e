//! The checks of a request's head, before any byte of its message is read: early rejection.

use crate::{brain::Brain, method::Method};
use http::{StatusCode, request::Parts};
use mesh_layers::{
    Listener, MeshError, Reason,
    frame::Encoding,
    layer::calls::{NotAdmitted, check_http},
    metadata, timeout,
    trust::{self, Believed, PeerToken},
};
use mesh_policy::Criticality;
use mesh_routing::decide::MAX_HOPS;
use std::{
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

/// When a caller that was shed should come again.
const SHED_DELAY: Duration = Duration::from_millis(200);
/// A non-core call is shed when this many percent of the calls allowed are in flight.
const NON_CORE_PERCENT: usize = 80;

/// A call that may go on.
#[derive(Debug)]
pub struct Admitted<'b> {
    /// Its method.
    pub method: &'b Method,
    /// What a peer said of it.
    pub believed: Believed,
    /// When it must end.
    pub deadline: Instant,
    /// Compression of its message.
    pub encoding: Encoding,
}

/// What a request's head asks for.
#[derive(Debug)]
pub enum Entry<'b> {
    /// A method that is routed.
    Routed(Admitted<'b>),
    /// Something the router answers itself: health, reflection, the control API.
    Own {
        /// The caller's own deadline, if it has one.
        deadline: Option<Instant>,
    },
}

/// A call that ends here.
#[derive(Debug)]
pub struct Rejection<'b> {
    /// Why.
    pub error: MeshError,
    /// HTTP status of the answer.
    pub http: StatusCode,
    /// Whether it is the sort of call that an honest caller does not make: many of them end the connection.
    pub hostile: bool,
    /// Its method, if that is known.
    pub method: Option<&'b Method>,
}

/// What heads are checked against.
#[derive(Clone, Copy, Debug)]
pub struct Gate<'b> {
    /// Where the connection came in.
    pub listener: Listener,
    /// The token of peers.
    pub token: Option<&'b PeerToken>,
    /// Most calls in flight in the process.
    pub max_calls: usize,
    /// Most server streams in flight in the process, and as many of global methods.
    pub max_streams: usize,
    /// Services that the router answers itself, as `/package.Service/`.
    pub own: &'b [String],
}

/// Checks a head and takes from it what is not to go on.
///
/// # Errors
/// A [`Rejection`] with the code and reason for the caller.
pub fn admit<'b>(
    brain: &'b Brain,
    gate: Gate<'b>,
    head: &mut Parts,
    now: Instant,
) -> Result<Entry<'b>, Box<Rejection<'b>>> {
    let reject = |error: MeshError, method: Option<&'b Method>| {
        Box::new(Rejection { error, http: StatusCode::OK, hostile: true, method })
    };
    let believed = trust::admit(gate.listener, gate.token, &mut head.headers).map_err(|error| reject(error, None))?;
    if let Err(NotAdmitted { http, error }) = check_http(&head.method, &head.headers) {
        return Err(Box::new(Rejection { http, ..*reject(error, None) }));
    }
    let path = head.uri.path();
    let own = gate.own.iter().any(|service| path.starts_with(service.as_str()));
    let Some(method) = brain.methods.get(path).filter(|_| !own) else {
        metadata::check(&head.headers).map_err(|error| reject(error, None))?;
        if !own {
            return Err(reject(MeshError::method_unknown(path), None));
        }
        let asked = timeout::of(&head.headers).map_err(|error| reject(error.into(), None))?;
        return Ok(Entry::Own { deadline: asked.map(|asked| now + asked.min(Duration::from_secs(86_400))) });
    };
    metadata::check(&head.headers).map_err(|error| reject(error, Some(method)))?;
    let encoding = Encoding::of(&head.headers).map_err(|error| reject(error.into(), Some(method)))?;
    let asked = timeout::of(&head.headers).map_err(|error| reject(error.into(), Some(method)))?;
    let is_non_core = metadata::is_non_core(&head.headers).map_err(|error| reject(error, Some(method)))?;
    let turn_away = |error: MeshError| Box::new(Rejection { hostile: false, ..*reject(error, Some(method)) });
    let granted = timeout::granted(asked, method.default_deadline, method.max_deadline);
    if granted.is_zero() {
        return Err(turn_away(MeshError::deadline_exceeded()));
    }
    if believed.hops > MAX_HOPS {
        brain.events.hops_refused.fetch_add(1, Relaxed);
        return Err(turn_away(MeshError::too_many_hops(believed.hops)));
    }
    if method.policy.client_streaming {
        let error = MeshError::new(Reason::MethodUnknown, "client streams are not routed yet");
        return Err(turn_away(error.info("method", &method.policy.path)));
    }
    let most = if method.policy.server_streaming { gate.max_streams } else { gate.max_calls };
    let most = match method.policy.criticality {
        Criticality::Core if !is_non_core => most,
        Criticality::Core | Criticality::NonCore => most * NON_CORE_PERCENT / 100,
    };
    if brain.counted(method).load(Relaxed) >= most {
        brain.events.shed.fetch_add(1, Relaxed);
        return Err(turn_away(MeshError::rate_limited("too many calls are in flight", SHED_DELAY)));
    }
    for name in [&metadata::USER, &metadata::TRACEPARENT, &metadata::OPERATOR_TOKEN] {
        // Never indexed by HPACK: calls of many users share a connection, whose table could be probed, and values that
        // hardly come twice only push others out of it.
        if let Some(value) = head.headers.get_mut(name) {
            value.set_sensitive(true);
        }
    }
    Ok(Entry::Routed(Admitted { method, believed, deadline: now + granted, encoding }))
}
