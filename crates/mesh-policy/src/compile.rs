//! From descriptors to policies: every check that can be made before a call arrives.

mod batch;
mod gather;
mod key;
mod place;

use crate::options::{self, Policy};
use crate::sets::Set;
use crate::{
    CachePolicy, Criticality, Fault, HedgePolicy, Idempotency, IdempotencyKey, LocalLogicPolicy, MethodPolicy,
    PolicyError, RouteKey, Scope,
};
use prost_reflect::{MessageDescriptor, MethodDescriptor};
use std::time::Duration;

/// What one set says.
#[derive(Default)]
pub(crate) struct Compiled {
    pub(crate) methods: Vec<Method>,
    /// Paths of methods without a policy.
    pub(crate) unannotated: Vec<String>,
    pub(crate) services: Vec<String>,
}

/// One method and the file it is from.
pub(crate) struct Method {
    pub(crate) file: String,
    pub(crate) policy: MethodPolicy,
}

/// A method under construction.
struct Draft {
    descriptor: MethodDescriptor,
    policy: MethodPolicy,
    batch: Option<options::Batch>,
}

/// Collects the faults of one method.
struct Sink<'a> {
    method: &'a MethodDescriptor,
    errors: &'a mut Vec<PolicyError>,
}

impl<'a> Sink<'a> {
    fn new(method: &'a MethodDescriptor, errors: &'a mut Vec<PolicyError>) -> Self {
        Self { method, errors }
    }

    fn add(&mut self, option: &'static str, fault: Fault) {
        let service = self.method.parent_service().full_name();
        self.errors.push(PolicyError {
            file: self.method.parent_file().name().to_owned(),
            method: format!("{service}/{}", self.method.name()),
            option,
            fault,
        });
    }

    fn take<T>(&mut self, option: &'static str, result: Result<T, Fault>) -> Option<T> {
        result.map_err(|fault| self.add(option, fault)).ok()
    }

    fn range(&mut self, option: &'static str, value: u32, min: u32, max: u32) {
        if !(min..=max).contains(&value) {
            self.add(option, Fault::Range { value, min, max });
        }
    }

    fn name(&mut self, option: &'static str, name: &str) {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b);
        if !(1..=63).contains(&name.len()) || !name.bytes().all(allowed) {
            self.add(option, Fault::Name(name.to_owned()));
        }
    }
}

/// Compiles every service of a set.
pub(crate) fn compile(set: &Set<'_>, errors: &mut Vec<PolicyError>) -> Compiled {
    let mut compiled = Compiled::default();
    let policy_type = options::policy_type(&set.pool)
        .and_then(|found| found.map(|message| options::check_route_key(&set.pool).map(|()| message)).transpose());
    let policy_type = policy_type.unwrap_or_else(|fault| {
        errors.push(PolicyError::of_file("cellmesh/policy/v1/policy.proto", fault));
        None
    });
    for service in set.pool.services() {
        compiled.services.push(service.full_name().to_owned());
        let mut drafts = Vec::new();
        for method in service.methods() {
            let mut sink = Sink::new(&method, errors);
            let options = match &policy_type {
                Some(message) => sink.take("policy", options::policy(set, message, &method)),
                None => Some(None),
            };
            match options {
                Some(Some(options)) => drafts.push(draft(set, options, &method, &mut sink)),
                Some(None) => compiled.unannotated.push(path(&method)),
                None => {}
            }
        }
        batch::link(&mut drafts, errors);
        let file = service.parent_file();
        compiled
            .methods
            .extend(drafts.into_iter().map(|draft| Method { file: file.name().to_owned(), policy: draft.policy }));
    }
    compiled
}

fn path(method: &MethodDescriptor) -> String {
    format!("/{}/{}", method.parent_service().full_name(), method.name())
}

fn draft(set: &Set<'_>, options: Policy, method: &MethodDescriptor, sink: &mut Sink<'_>) -> Draft {
    let scope = scope(options.scope, sink);
    let side_effects = side_effects(method, sink);
    let streaming = method.is_client_streaming() || method.is_server_streaming();
    let request = method.input();
    if options.max_deadline_ms != 0 && options.default_deadline_ms > options.max_deadline_ms {
        let (default, max) = (options.default_deadline_ms, options.max_deadline_ms);
        sink.add("policy.default_deadline_ms", Fault::Deadline { default, max });
    }
    let mut gate = |option, present: bool, needs_no_side_effects: bool| {
        if present && streaming {
            sink.add(option, Fault::Streaming);
        }
        if present && needs_no_side_effects && side_effects != Idempotency::NoSideEffects {
            sink.add(option, Fault::SideEffects);
        }
    };
    gate("policy.cache", options.cache.is_some(), true);
    gate("policy.hedge", options.hedge.is_some(), true);
    gate("policy.local_logic", options.local_logic.is_some(), false);
    gate("policy.batch", options.batch.is_some(), false);

    let route_key = key::route_key(set, method, scope, sink);
    let policy = MethodPolicy {
        path: path(method),
        request: request.full_name().to_owned(),
        response: method.output().full_name().to_owned(),
        scope,
        criticality: criticality(options.criticality, sink),
        default_deadline: millis(options.default_deadline_ms),
        max_deadline: millis(options.max_deadline_ms),
        max_request_bytes: (options.max_request_bytes != 0).then_some(options.max_request_bytes),
        side_effects,
        client_streaming: method.is_client_streaming(),
        server_streaming: method.is_server_streaming(),
        idempotency_key: idempotency_key(&options.idempotency_key, method, sink),
        batch: None,
        batch_of: None,
        cache: options.cache.map(|cache| self::cache(cache, &request, route_key.as_ref(), sink)),
        hedge: options.hedge.map(|max_extra_permille| {
            sink.range("policy.hedge.max_extra_permille", max_extra_permille, 1, 1000);
            HedgePolicy { max_extra_permille }
        }),
        local_logic: options.local_logic.map(|(name, major)| {
            sink.name("policy.local_logic.name", &name);
            sink.range("policy.local_logic.major", major, 1, u32::MAX);
            LocalLogicPolicy { name, major }
        }),
        rate_class: (!options.rate_class.is_empty()).then(|| {
            sink.name("policy.rate_class", &options.rate_class);
            options.rate_class
        }),
        route_key,
    };
    Draft { descriptor: method.clone(), policy, batch: options.batch }
}

/// After a fault the value does not matter: the table is refused.
fn scope(value: i32, sink: &mut Sink<'_>) -> Scope {
    match value {
        1 => Scope::User,
        2 => Scope::Global,
        3 => Scope::Replicated,
        4 => Scope::Local,
        other => {
            sink.add("policy.scope", if other == 0 { Fault::NoScope } else { Fault::UnknownValue(other) });
            Scope::Local
        }
    }
}

fn criticality(value: i32, sink: &mut Sink<'_>) -> Criticality {
    match value {
        0 | 1 => Criticality::Core,
        2 => Criticality::NonCore,
        other => {
            sink.add("policy.criticality", Fault::UnknownValue(other));
            Criticality::Core
        }
    }
}

fn side_effects(method: &MethodDescriptor, sink: &mut Sink<'_>) -> Idempotency {
    let options = method.method_descriptor_proto().options.as_ref();
    match options.and_then(|options| options.idempotency_level).unwrap_or_default() {
        0 => Idempotency::Unknown,
        1 => Idempotency::NoSideEffects,
        2 => Idempotency::Idempotent,
        other => {
            sink.add("idempotency_level", Fault::UnknownValue(other));
            Idempotency::Unknown
        }
    }
}

fn idempotency_key(path: &str, method: &MethodDescriptor, sink: &mut Sink<'_>) -> Option<IdempotencyKey> {
    const OPTION: &str = "policy.idempotency_key";
    if path.is_empty() {
        return None;
    }
    if method.is_client_streaming() {
        sink.add(OPTION, Fault::Streaming);
    }
    sink.take(OPTION, place::text(&method.input(), path)).map(IdempotencyKey::new)
}

fn cache(
    cache: options::Cache,
    request: &MessageDescriptor,
    key: Option<&RouteKey>,
    sink: &mut Sink<'_>,
) -> CachePolicy {
    sink.range("policy.cache.ttl_ms", cache.ttl_ms, 1, u32::MAX);
    for field in &cache.key_fields {
        sink.take("policy.cache.key_fields", place::resolve(request, field));
    }
    // One user's reply must not be another's.
    if let Some(key) = key.map(RouteKey::path).filter(|_| !cache.key_fields.is_empty())
        && !cache
            .key_fields
            .iter()
            .any(|field| key.strip_prefix(&**field).is_some_and(|rest| !rest.starts_with(|c| c != '.')))
    {
        sink.add("policy.cache.key_fields", Fault::CacheWithoutKey(key.to_owned()));
    }
    for tag in &cache.tags {
        for placeholder in placeholders(tag) {
            sink.take("policy.cache.tags", place::resolve(request, placeholder));
        }
    }
    CachePolicy {
        ttl: Duration::from_millis(cache.ttl_ms.into()),
        key_fields: cache.key_fields,
        tags: cache.tags,
        negative_ttl: millis(cache.negative_ttl_ms),
    }
}

/// What stands between braces. A brace without its partner counts as a placeholder that no field has.
fn placeholders(tag: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = tag;
    while let Some(open) = rest.find(['{', '}']) {
        let (braces, inner) = (&rest[open..], &rest[open + 1..]);
        match inner.find(['{', '}']) {
            Some(close) if braces.starts_with('{') && inner[close..].starts_with('}') => {
                found.push(&inner[..close]);
                rest = &inner[close + 1..];
            }
            _ => {
                found.push(braces);
                return found;
            }
        }
    }
    found
}

fn millis(value: u32) -> Option<Duration> {
    (value != 0).then(|| Duration::from_millis(value.into()))
}
