//! The methods that are routed, each with its policy and its counters.

use crate::world::{Endpoint, Worlds};
use hashbrown::HashMap;
use mesh_policy::{Idempotency, MethodPolicy, PolicyTable};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tonic::Code;

/// Upper bounds of the latency histogram's buckets, in microseconds: those of OpenTelemetry's RPC conventions and three
/// below.
pub const BUCKETS_US: [u64; 17] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 75_000, 100_000, 250_000, 500_000, 750_000, 1_000_000, 2_500_000,
    5_000_000, 7_500_000, 10_000_000,
];

/// Counters of one method. Interned: a call touches atomics only.
#[derive(Debug, Default)]
pub struct Stats {
    /// Passes by status code.
    pub calls: [AtomicU64; 17],
    /// Attempts sent to an instance or another cell's router.
    pub attempts: AtomicU64,
    /// Passes by duration; the last is beyond all bounds.
    pub buckets: [AtomicU64; 18],
    /// Sum of the durations in microseconds.
    pub sum_us: AtomicU64,
}

impl Stats {
    /// Counts a pass that ended.
    pub fn ended(&self, code: Code, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.calls[(code as usize).min(16)].fetch_add(1, Relaxed);
        self.buckets[BUCKETS_US.partition_point(|bound| *bound < us)].fetch_add(1, Relaxed);
        self.sum_us.fetch_add(us, Relaxed);
    }
}

/// A method that is routed.
#[derive(Debug)]
pub struct Method {
    /// Its policy.
    pub policy: MethodPolicy,
    /// Deadline of a call that brings none.
    pub default_deadline: Duration,
    /// Longest deadline granted.
    pub max_deadline: Duration,
    /// Largest message after decompression, in bytes.
    pub max_message: usize,
    /// This cell's instances that host it.
    pub instances: Vec<Arc<Endpoint>>,
    /// Its counters.
    pub stats: Stats,
}

impl Method {
    /// Whether a call may be repeated that may have been processed.
    #[must_use]
    pub fn is_repeatable(&self) -> bool {
        self.policy.side_effects == Idempotency::NoSideEffects
    }

    /// Whether an instance of this cell that hosts it is connected.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.instances.iter().any(|endpoint| endpoint.is_live())
    }

    /// Full name of its service.
    #[must_use]
    pub fn service(&self) -> &str {
        service(&self.policy.path)
    }
}

fn service(path: &str) -> &str {
    path.trim_start_matches('/').split('/').next().unwrap_or_default()
}

/// What applies where a method's policy says nothing.
#[derive(Clone, Copy, Debug)]
pub struct Defaults {
    /// Deadline of a call that brings none.
    pub default_deadline: Duration,
    /// Longest deadline granted.
    pub max_deadline: Duration,
    /// Largest message after decompression, in bytes.
    pub max_message: usize,
}

/// All methods that are routed.
#[derive(Debug)]
pub struct Methods {
    by_path: HashMap<Box<str>, Method>,
    /// Calls of no method known.
    pub unknown: Stats,
}

impl Methods {
    /// Of a policy table, hosted as these worlds say.
    #[must_use]
    pub fn new(table: &PolicyTable, defaults: Defaults, worlds: &Worlds) -> Self {
        let method = |policy: &MethodPolicy| {
            // A stream is meant to last: what its policy grants holds, as it does at the service.
            let longest = if policy.server_streaming { Duration::MAX } else { defaults.max_deadline };
            let max_deadline = policy.max_deadline.map_or(defaults.max_deadline, |max| max.min(longest));
            let default_deadline = policy.default_deadline.unwrap_or(defaults.default_deadline).min(max_deadline);
            let max_message = policy.max_request_bytes.map_or(defaults.max_message, |max| max as usize);
            let instances = worlds.hosting(service(&policy.path)).cloned().collect();
            let (policy, stats) = (policy.clone(), Stats::default());
            Method { policy, default_deadline, max_deadline, max_message, instances, stats }
        };
        let by_path = table.methods().map(|policy| (policy.path.as_str().into(), method(policy))).collect();
        Self { by_path, unknown: Stats::default() }
    }

    /// The method of a path, `/package.Service/Method`.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Method> {
        self.by_path.get(path)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Method> {
        self.by_path.values()
    }
}
