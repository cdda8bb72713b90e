//! The ladder of one call: deadline → local logic → (near cache) → single-flight → batcher → retry with budget → routing.
//!
//! The near cache and hedging take their places here in a later version; their policies are read already. Every rung can
//! be left out: by the call, the mesh's settings, the restrictions in force, and the method's policy.

use crate::{
    Call, CallOptions, Code, Criticality, Error, Fresh, Mesh, Method, MethodPolicy, Reply, Scope, batch, flight,
    method,
    slot::SlotInner,
    span,
    stats::Counts,
    wire::{Destination, Wants, WireCall},
};
use bytes::{BufMut, Bytes, BytesMut};
use cell_map::{KeyError, UserKey};
use futures_util::future::BoxFuture;
use http::HeaderMap;
use mesh_layers::{CallContext, frame::HEADER_LEN};
use prost::Message;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// What a call comes to.
pub(crate) type Answer<M> = Result<Reply<<M as Method>::Response>, Error>;

/// What calls have in common that share anything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Kin {
    pub principal: Option<Arc<str>>,
    pub priority: Criticality,
    pub no_retry: bool,
}

/// A call that local logic did not answer, ready for the rungs below.
pub(crate) struct Outgoing<M: Method> {
    pub mesh: Mesh,
    pub slot: Arc<SlotInner<M>>,
    pub request: M::Request,
    /// The request in its frame.
    pub frame: Bytes,
    pub key: Option<UserKey>,
    /// The key stands in metadata, since the message has none.
    pub key_in_metadata: bool,
    pub made: Instant,
    pub deadline: Instant,
    pub fresh: Fresh,
    pub kin: Kin,
    pub metadata: Option<Arc<HeaderMap>>,
    /// Whether it may join an equal call.
    pub coalesce: bool,
    /// Whether it may travel in a batch.
    pub batch: bool,
    /// Whether others like it are about to come.
    pub gather: bool,
}

/// What local logic answers; `None`: the call must be made.
pub(crate) fn local<M: Method>(call: &Call<'_, M>) -> Option<Reply<M::Response>> {
    let slot = &*call.slot.0;
    Counts::add(&slot.counts.logical);
    let authoritative = call.options.fresh == Fresh::Authoritative;
    let evaluator = slot.evaluator.as_ref().filter(|_| !call.options.no_local && !authoritative)?;
    let reply = evaluator.answer(&call.request, &call.options)?;
    let nth = Counts::add(&slot.counts.local);
    span::inside(call.mesh, nth, slot.policy, "local");
    Some(reply)
}

/// The rungs below local logic, and local logic again where they fail and stale data will do.
pub(crate) fn remote<M: Method>(call: Call<'_, M>) -> BoxFuture<'_, Answer<M>> {
    let Call { mesh, slot, request, options } = call;
    let slot = &slot.0;
    let may_be_stale = matches!(options.fresh, Fresh::StaleIfError(_)) && !options.no_local;
    let stale = slot.evaluator.as_ref().filter(|_| may_be_stale);
    let stale = stale.map(|evaluator| (evaluator, Box::new((request.clone(), options.clone()))));
    // Not in the future, which would have room for all of it in all its states. Shared: flight and batch look at it, too.
    let outgoing = prepare(mesh, slot, request, options);
    Box::pin(async move {
        let answer = match outgoing {
            Ok(outgoing) if outgoing.coalesce => flight::fly(outgoing).await,
            Ok(outgoing) => carry(outgoing).await,
            Err(error) => Err(error),
        };
        let error = match answer {
            Ok(reply) => return Ok(reply),
            Err(error) if error.method() == slot.policy.path => error,
            Err(error) => error.in_method(slot.policy.path),
        };
        Counts::add(&slot.counts.failed);
        if matches!(error.code(), Code::Unavailable | Code::DeadlineExceeded)
            && let Some((evaluator, asked)) = stale
            && let Some(reply) = evaluator.stale(&asked.0, &asked.1)
        {
            Counts::add(&slot.counts.stale);
            return Ok(reply);
        }
        Err(error)
    })
}

fn prepare<M: Method>(
    mesh: &Mesh,
    slot: &Arc<SlotInner<M>>,
    mut request: M::Request,
    options: CallOptions,
) -> Result<Arc<Outgoing<M>>, Error> {
    let (policy, limits) = (slot.policy, slot.limits.get());
    let (key, key_in_metadata) = method::prepare::<M>(&mut request, &options)?;
    note(policy);
    let made = now();
    let deadline = mesh.deadline(made, policy, &options)?;
    let deadline = limits.max_deadline.map_or(deadline, |max| deadline.min(made + max));

    let settings = mesh.settings();
    let alone = options.metadata.is_some() || key_in_metadata;
    // It may not show less than what the server knew when it was made.
    let anew = options.fresh == Fresh::Authoritative;
    let coalesce =
        settings.coalescing && policy.reads() && !(alone || anew || options.no_coalescing || limits.no_coalescing);
    let batch = settings.batching && !(alone || options.no_batch || limits.no_batch);
    Ok(Arc::new(Outgoing {
        mesh: mesh.clone(),
        slot: Arc::clone(slot),
        frame: frame(&request)?,
        request,
        made,
        deadline,
        fresh: options.fresh,
        kin: Kin {
            principal: options.principal,
            priority: options.priority.unwrap_or(policy.criticality),
            no_retry: options.no_retry || limits.no_retry,
        },
        metadata: options.metadata,
        coalesce,
        // The home of a user who is not named is unknown: the wire says what is wrong with such a call.
        batch: batch && (key.is_some() || policy.scope != Scope::User),
        gather: options.gather,
        key_in_metadata,
        key,
    }))
}

/// The rungs below single-flight.
pub(crate) async fn carry<M: Method>(outgoing: Arc<Outgoing<M>>) -> Answer<M> {
    if let Some(glue) = const { M::SPLIT } {
        // In a place of its own: other methods' calls need no room for it.
        return Box::pin(batch::split(outgoing, glue)).await;
    }
    match const { M::BATCH } {
        Some(glue) if outgoing.batch => batch::ride(outgoing, glue).await,
        _ => alone(&outgoing).await,
    }
}

/// As a call of its own.
pub(crate) async fn alone<M: Method>(outgoing: &Outgoing<M>) -> Answer<M> {
    send(outgoing, outgoing.wire_call(outgoing.frame.clone())).await
}

/// Sends a message of the call's method.
pub(crate) async fn send<M: Method>(outgoing: &Outgoing<M>, call: WireCall) -> Answer<M> {
    Counts::add(&outgoing.slot.counts.wire);
    let reply = outgoing.mesh.wire().unary(call).await?;
    Ok(Reply::new(decode::<M>(&reply.message)?, reply.source(), reply.token))
}

impl<M: Method> Outgoing<M> {
    /// The encoded request.
    pub fn message(&self) -> &[u8] {
        &self.frame[HEADER_LEN..]
    }

    /// Whether it may be sent again once it may have been processed.
    pub fn repeatable(&self) -> bool {
        self.slot.policy.repeatable() && !self.kin.no_retry
    }

    /// Where calls of its method with this key go now.
    pub fn destination(&self, key: Option<&UserKey>) -> Destination {
        self.mesh.wire().destination(self.slot.policy, key.map(UserKey::as_bytes))
    }

    /// The call as the wire takes it, with this message.
    pub fn wire_call(&self, frame: Bytes) -> WireCall {
        WireCall {
            policy: self.slot.policy,
            frame,
            key: self.key.clone(),
            deadline: self.deadline,
            fresh: self.fresh.clone(),
            metadata: self.metadata.clone(),
            wants: Wants {
                key_in_metadata: self.key_in_metadata,
                no_retry: self.kin.no_retry,
                ..Wants::ranked(self.slot.policy, self.kin.priority)
            },
        }
    }

    /// That its time is over, with the cell that it waited for.
    pub fn late(&self) -> Error {
        late(&self.mesh, self.slot.policy, self.key.as_ref())
    }
}

/// That the time of a call which waited for another's is over, with the cell that the other one went to.
pub(crate) fn late(mesh: &Mesh, policy: &MethodPolicy, key: Option<&UserKey>) -> Error {
    let cell = match mesh.wire().destination(policy, key.map(UserKey::as_bytes)) {
        Destination::Cell(cell) => Some(cell),
        Destination::Router => None,
    };
    Error::deadline_exceeded().at_cell(cell)
}

/// The runtime's present time: the same as the system's, but where a test has stopped it.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// What a served call makes others do counts as its own doing (OWN-9). Noted in the caller's task: a shared call is driven
/// by others' too.
pub(crate) fn note(policy: &MethodPolicy) {
    if !policy.reads() {
        CallContext::with_current(CallContext::note_fenced_commit);
    }
}

/// A message in an uncompressed gRPC frame.
pub(crate) fn frame(message: &impl Message) -> Result<Bytes, Error> {
    let len = message.encoded_len();
    let Ok(length) = u32::try_from(len) else {
        return Err(Error::new(Code::ResourceExhausted, "the request has 4 GiB or more"));
    };
    let mut frame = BytesMut::with_capacity(HEADER_LEN + len);
    frame.put_u8(0);
    frame.put_u32(length);
    message.encode(&mut frame).expect("a BytesMut grows as it must");
    Ok(frame.freeze())
}

pub(crate) fn decode<M: Method>(message: &[u8]) -> Result<M::Response, Error> {
    M::Response::decode(message).map_err(|error| {
        let why = format!("the response is no {}: {error}", std::any::type_name::<M::Response>());
        Error::new(Code::Internal, why)
    })
}

/// A user key that is none.
pub(crate) fn refused(error: &KeyError) -> Error {
    Error::new(Code::InvalidArgument, error.to_string())
}

/// The answer of a shared call that panicked in another waiter's hands.
pub(crate) fn broken<M: Method>() -> Answer<M> {
    Err(Error::new(Code::Internal, "the call that was waited for panicked"))
}

/// When a call ends that is made now.
pub(crate) fn deadline(now: Instant, asked: Option<Duration>, default: Duration, max: Duration) -> Instant {
    now + asked.unwrap_or(default).min(max)
}

#[cfg(test)]
mod tests;
