//! The policy of one method.

use crate::{BatchOf, Gather, IdempotencyKey, PolicyErrors, RouteKey};
use std::time::Duration;

/// Where an RPC may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Only in the home cell of the request's user.
    User,
    /// Only in the one global cell.
    Global,
    /// In any cell, from its local copy of global data.
    Replicated,
    /// In any cell, wherever it is asked.
    Local,
}

/// How much the caller's page depends on an RPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Criticality {
    /// The page fails without it.
    Core,
    /// The page degrades without it: shed first, never waited for.
    NonCore,
}

/// What a repeated call does (`idempotency_level`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Idempotency {
    /// The call changes nothing: it may be cached, hedged and retried.
    NoSideEffects,
    /// A second call changes nothing more.
    Idempotent,
    /// Not said: a second call may do it twice.
    Unknown,
}

/// Everything the mesh knows about one method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MethodPolicy {
    /// `/package.Service/Method`, as on the wire.
    pub path: String,
    /// Full name of the request message.
    pub request: String,
    /// Full name of the response message.
    pub response: String,
    /// Where it may run.
    pub scope: Scope,
    /// Core or not.
    pub criticality: Criticality,
    /// Deadline when the caller gives none; `None`: the router's default.
    pub default_deadline: Option<Duration>,
    /// Longest deadline granted; `None`: the router's maximum.
    pub max_deadline: Option<Duration>,
    /// Largest request message in bytes after decompression; `None`: the router's default.
    pub max_request_bytes: Option<u32>,
    /// What a repeated call does.
    pub side_effects: Idempotency,
    /// Whether the client sends a stream.
    pub client_streaming: bool,
    /// Whether the server sends a stream.
    pub server_streaming: bool,
    /// Where the request keeps its user key. `None` for a [`Scope::User`] method: in metadata only.
    pub route_key: Option<RouteKey>,
    /// Where the request keeps its idempotency key.
    pub idempotency_key: Option<IdempotencyKey>,
    /// The batch RPC that does the same for many.
    pub batch: Option<BatchPolicy>,
    /// Present if this is a batch RPC: how to split and merge it.
    pub batch_of: Option<BatchOf>,
    /// Caching of replies in clients.
    pub cache: Option<CachePolicy>,
    /// Hedging in clients.
    pub hedge: Option<HedgePolicy>,
    /// Logic that answers inside the client.
    pub local_logic: Option<LocalLogicPolicy>,
    /// Name that the router's configuration gives a rate to.
    pub rate_class: Option<String>,
}

/// The batch form of a unary method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchPolicy {
    /// `/package.Service/BatchMethod`.
    pub path: String,
    /// Number of the batch request's repeated field.
    pub items: u32,
    /// Number of the batch response's repeated field.
    pub results: u32,
    /// Most items in one call.
    pub max: u32,
    /// How calls become one batch call without their callers' doing, or why they cannot: only clients that gather them
    /// need to know.
    pub gather: Result<Gather, PolicyErrors>,
}

/// Caching of replies in clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachePolicy {
    /// How long a reply may be reused.
    pub ttl: Duration,
    /// Request fields that identify the reply; empty: the whole request.
    pub key_fields: Vec<String>,
    /// Invalidation tags with `{field}` placeholders.
    pub tags: Vec<String>,
    /// How long NOT_FOUND may be reused; `None`: not at all.
    pub negative_ttl: Option<Duration>,
}

/// Hedging of reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HedgePolicy {
    /// Most extra calls, in permille of the calls made, 1 to 1000.
    pub max_extra_permille: u32,
}

/// Logic compiled into the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalLogicPolicy {
    /// Its name.
    pub name: String,
    /// Its major version; a client with another one asks the server.
    pub major: u32,
}
