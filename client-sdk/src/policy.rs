//! What a client knows of a method, as constants in generated code.

use crate::{Criticality, Idempotency, Scope};
use std::time::Duration;

/// Policy of one method, as its `.proto` says. Made by generated code; new options have defaults, so that code generated
/// by an older version still compiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MethodPolicy {
    /// `/package.Service/Method`, as on the wire.
    pub path: &'static str,
    /// Where it may run.
    pub scope: Scope,
    /// Core or not.
    pub criticality: Criticality,
    /// What a repeated call does.
    pub side_effects: Idempotency,
    /// Deadline when the caller gives none; `None`: the mesh's default.
    pub default_deadline: Option<Duration>,
    /// Longest deadline granted; `None`: the mesh's maximum.
    pub max_deadline: Option<Duration>,
    /// Largest request message in bytes; `None`: the mesh's default.
    pub max_request_bytes: Option<u32>,
    /// Whether the request holds an idempotency key, which makes a repeated call safe.
    pub idempotency_key: bool,
    /// The batch RPC that does the same for many.
    pub batch: Option<BatchPolicy>,
    /// Logic that may answer inside the client.
    pub local_logic: Option<LogicPolicy>,
    /// How long replies may be reused. Not used by this version.
    pub cache: Option<CachePolicy>,
    /// How many extra calls hedging may make. Not used by this version.
    pub hedge: Option<HedgePolicy>,
}

/// The batch form of a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BatchPolicy {
    /// `/package.Service/BatchMethod`.
    pub path: &'static str,
    /// Most items in one call.
    pub max: u32,
}

/// Logic that may answer inside the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogicPolicy {
    /// Its name.
    pub name: &'static str,
    /// Its major version.
    pub major: u32,
}

/// How long replies may be reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CachePolicy {
    /// How long a reply may be reused.
    pub ttl: Duration,
    /// How long NOT_FOUND may be reused; `None`: not at all.
    pub negative_ttl: Option<Duration>,
}

/// How many extra calls hedging may make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HedgePolicy {
    /// Most extra calls, in permille of the calls made.
    pub max_extra_permille: u32,
}

impl MethodPolicy {
    /// A method that has side effects, no batch form and no other option.
    #[must_use]
    pub const fn new(path: &'static str, scope: Scope) -> Self {
        Self {
            path,
            scope,
            criticality: Criticality::Core,
            side_effects: Idempotency::Unknown,
            default_deadline: None,
            max_deadline: None,
            max_request_bytes: None,
            idempotency_key: false,
            batch: None,
            local_logic: None,
            cache: None,
            hedge: None,
        }
    }

    /// Core or not.
    #[must_use]
    pub const fn criticality(mut self, criticality: Criticality) -> Self {
        self.criticality = criticality;
        self
    }

    /// What a repeated call does.
    #[must_use]
    pub const fn side_effects(mut self, side_effects: Idempotency) -> Self {
        self.side_effects = side_effects;
        self
    }

    /// Deadline when the caller gives none, in milliseconds.
    #[must_use]
    pub const fn default_deadline_ms(mut self, ms: u32) -> Self {
        self.default_deadline = Some(Duration::from_millis(ms as u64));
        self
    }

    /// Longest deadline granted, in milliseconds.
    #[must_use]
    pub const fn max_deadline_ms(mut self, ms: u32) -> Self {
        self.max_deadline = Some(Duration::from_millis(ms as u64));
        self
    }

    /// Largest request message in bytes.
    #[must_use]
    pub const fn max_request_bytes(mut self, bytes: u32) -> Self {
        self.max_request_bytes = Some(bytes);
        self
    }

    /// The request holds an idempotency key.
    #[must_use]
    pub const fn idempotency_key(mut self) -> Self {
        self.idempotency_key = true;
        self
    }

    /// The batch RPC that does the same for at most `max` items.
    #[must_use]
    pub const fn batch(mut self, path: &'static str, max: u32) -> Self {
        self.batch = Some(BatchPolicy { path, max });
        self
    }

    /// The logic that may answer inside the client.
    #[must_use]
    pub const fn local_logic(mut self, name: &'static str, major: u32) -> Self {
        self.local_logic = Some(LogicPolicy { name, major });
        self
    }

    /// How long replies may be reused, in milliseconds; a `negative_ttl_ms` of 0: NOT_FOUND is not.
    #[must_use]
    pub const fn cache_ms(mut self, ttl_ms: u32, negative_ttl_ms: u32) -> Self {
        let negative_ttl = match negative_ttl_ms {
            0 => None,
            ms => Some(Duration::from_millis(ms as u64)),
        };
        self.cache = Some(CachePolicy { ttl: Duration::from_millis(ttl_ms as u64), negative_ttl });
        self
    }

    /// Most extra calls of hedging, in permille.
    #[must_use]
    pub const fn hedge_permille(mut self, max_extra_permille: u32) -> Self {
        self.hedge = Some(HedgePolicy { max_extra_permille });
        self
    }

    /// Whether a call that may have been processed can be sent again without doing it twice.
    #[must_use]
    pub const fn repeatable(&self) -> bool {
        matches!(self.side_effects, Idempotency::NoSideEffects | Idempotency::Idempotent) || self.idempotency_key
    }

    /// Whether it reads only: calls may be coalesced.
    #[must_use]
    pub const fn reads(&self) -> bool {
        matches!(self.side_effects, Idempotency::NoSideEffects)
    }
}
