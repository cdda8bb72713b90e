//! The ladder of one call: deadline → local logic → (near cache) → single-flight → batcher → retry with budget → routing.
//!
//! The near cache and hedging take their places here in a later version; their policies are read already.

use crate::{Call, Error, Method, Reply, Source, slot::Counts, wire::WireCall};
use bytes::{BufMut, Bytes, BytesMut};
use mesh_layers::frame::HEADER_LEN;
use prost::Message;
use std::time::{Duration, Instant};

/// What local logic answers; `None`: the call must be made.
pub(crate) fn local<M: Method>(call: &Call<'_, M>) -> Option<Reply<M::Response>> {
    let slot = &*call.slot.0;
    Counts::add(&slot.counts.logical);
    let evaluator = slot.evaluator.as_ref().filter(|_| !call.options.no_local)?;
    let reply = evaluator.answer(&call.request, &call.options)?;
    Counts::add(&slot.counts.local);
    Some(reply)
}

/// The rungs below local logic.
pub(crate) async fn remote<M: Method>(call: Call<'_, M>) -> Result<Reply<M::Response>, Error> {
    let Call { mesh, slot, mut request, options } = call;
    let slot = &*slot.0;
    if let Some(id) = M::idempotency_key(&mut request)
        && id.is_empty()
    {
        *id = uuid::Uuid::now_v7().to_string();
    }
    let deadline = mesh.deadline(slot.policy, &options)?;
    let key = M::key(&request)
        .map_err(|error| Error::new(crate::Code::InvalidArgument, error.to_string()).in_method(slot.policy.path))?;
    let wire = WireCall {
        policy: slot.policy,
        frame: frame(&request),
        key: key.map(|key| key.to_user_key()),
        deadline,
        fresh: options.fresh.clone(),
        metadata: options.metadata.clone(),
    };
    Counts::add(&slot.counts.wire);
    let answer = mesh.wire().unary(wire).await.and_then(|reply| {
        let source: Source = reply.source();
        Ok(Reply::new(decode::<M>(&reply.message)?, source, reply.token))
    });
    if answer.is_err() {
        Counts::add(&slot.counts.failed);
    }
    answer
}

/// A message in an uncompressed gRPC frame.
pub(crate) fn frame(message: &impl Message) -> Bytes {
    let len = message.encoded_len();
    let mut frame = BytesMut::with_capacity(HEADER_LEN + len);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(len).unwrap_or(u32::MAX));
    message.encode(&mut frame).expect("a BytesMut grows as it must");
    frame.freeze()
}

fn decode<M: Method>(message: &[u8]) -> Result<M::Response, Error> {
    M::Response::decode(message).map_err(|error| {
        let why = format!("the response is no {}: {error}", std::any::type_name::<M::Response>());
        Error::new(crate::Code::Internal, why).in_method(M::POLICY.path)
    })
}

/// When a call ends that is made now.
pub(crate) fn deadline(now: Instant, asked: Option<Duration>, default: Duration, max: Duration) -> Instant {
    now + asked.unwrap_or(default).min(max)
}
