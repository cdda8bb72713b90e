//! Calls that name several users: sent on whole if all live in one cell, else split by the method's batch policy.

use super::{
    answer::{Call, Coming, Reply, attempts},
    pump::status,
};
use crate::{brain::Brain, head::Admitted, worker::hops, world::World};
use bytes::{Bytes, BytesMut};
use cell_map::CellIndex;
use futures_util::future::join_all;
use h2::{RecvStream, server::SendResponse};
use http::{HeaderMap, HeaderValue, Request, Response, header};
use mesh_layers::{MeshError, Reason, frame, frame::Encoding, metadata};
use mesh_policy::{BatchOf, CanonicalKey, Outcome, Split};
use mesh_routing::decide::MAX_HOPS;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use tonic::Code;

/// Most foreign keys that an error names.
const NAMED_KEYS: usize = 10;

/// A response put together from parts.
pub(super) struct Merged {
    message: Vec<u8>,
    hops: u32,
}

impl Merged {
    /// Sends it.
    pub(super) fn send(self, brain: &Brain, mut respond: SendResponse<Bytes>) {
        let mut response = Response::new(());
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(metadata::CELL, brain.worlds.instances().name.clone());
        headers.insert(metadata::HOPS, hops(self.hops));
        headers.insert(metadata::SOURCE, HeaderValue::from_static("router"));
        let Ok(mut to) = respond.send_response(response, false) else { return };
        let mut trailers = HeaderMap::new();
        trailers.insert(metadata::GRPC_STATUS, HeaderValue::from_static("0"));
        // Both fail only when the caller has gone.
        let _ = to.send_data(frame::encode(&self.message), false).and_then(|()| to.send_trailers(trailers));
    }
}

/// Answers a call that names several users. `body` is its message as it came.
pub(super) async fn answer(
    call: &Call<'_>,
    message: &[u8],
    body: Bytes,
    keys: &[CanonicalKey<'_>],
) -> Result<Reply, MeshError> {
    let Admitted { method, believed, .. } = *call.admitted;
    let brain = call.shared.worker.brain();
    let Some(world) = brain.worlds.load() else {
        return Err(MeshError::new(Reason::Unavailable, "there is no cell map yet"));
    };
    // A peer has split what is to be split; the local service answers for each key.
    let homes = homes(brain, &world, keys);
    let together = believed.hops >= MAX_HOPS || homes.iter().all(|home| *home == homes[0]);
    if together && let Some(coming) = attempts(call, body, Some(&keys[0]), true).await? {
        return Ok(Reply::Stream(coming));
    }
    let Some(batch) = method.policy.batch_of.as_ref().filter(|_| !method.policy.server_streaming) else {
        return Err(foreign(keys, &homes));
    };
    // If the map saw them together and a cell disagreed, each key is asked for alone: then the answer tells whose it is.
    let groups = if together { by_key(keys) } else { by_home(&homes) };
    divided(call, batch, message, keys, &groups).await
}

/// Each key's home, by what is known.
fn homes(brain: &Brain, world: &World, keys: &[CanonicalKey<'_>]) -> Vec<Option<CellIndex>> {
    keys.iter().map(|key| brain.claim(world, key).cell).collect()
}

fn by_home(homes: &[Option<CellIndex>]) -> Vec<usize> {
    homes.iter().map(|home| home.map_or(usize::MAX, CellIndex::index)).collect()
}

fn by_key(keys: &[CanonicalKey<'_>]) -> Vec<usize> {
    keys.iter().map(|key| keys.iter().position(|first| first == key).unwrap_or(usize::MAX)).collect()
}

fn foreign(keys: &[CanonicalKey<'_>], homes: &[Option<CellIndex>]) -> MeshError {
    let strangers = keys.iter().zip(homes).filter(|(_, home)| **home != homes[0]).map(|(key, _)| key.to_string());
    let mut named: Vec<String> = strangers.take(NAMED_KEYS + 1).collect();
    if named.len() > NAMED_KEYS {
        named[NAMED_KEYS] = "…".to_owned();
    }
    let text = format!(
        "the call's users live in several cells, and it cannot be split: at home elsewhere than {} are {}",
        keys[0],
        named.join(", ")
    );
    MeshError::bad_request(text).info("foreign_keys", named.join(","))
}

/// Sends each group's part on its own, all at once, and merges the answers.
async fn divided(
    call: &Call<'_>,
    batch: &BatchOf,
    message: &[u8],
    keys: &[CanonicalKey<'_>],
    groups: &[usize],
) -> Result<Reply, MeshError> {
    let split = batch.split(message, groups).map_err(|error| MeshError::bad_request(error.to_string()))?;
    let template = part_template(call.template);
    let answers = join_all(split.parts().iter().map(|part| {
        let first = keys[part.positions[0]];
        let among_others = part.positions.iter().any(|position| keys[*position] != first);
        one_part(call, &template, frame::encode(&part.request), first, among_others)
    }));
    let answers = answers.await;
    merge(&split, answers)
}

/// The head of a part's request: its message is not compressed, and its answer must not be.
fn part_template(template: &Request<()>) -> Request<()> {
    let mut template = template.clone();
    let headers = template.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    headers.remove(metadata::GRPC_ENCODING);
    // A hint names one user of the batch; in the others' parts it would contradict the message.
    headers.remove(metadata::USER);
    headers.remove(metadata::USER_BIN);
    headers.insert(metadata::GRPC_ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    template
}

/// What became of a part: its response and the hops it took.
type Answered = Result<(Bytes, u32), MeshError>;

async fn one_part(
    call: &Call<'_>,
    template: &Request<()>,
    body: Bytes,
    key: CanonicalKey<'_>,
    among_others: bool,
) -> Answered {
    let hops = AtomicU32::new(0);
    let part = Call { shared: call.shared, admitted: call.admitted, template, record: call.record, hops: &hops };
    let coming = Box::pin(attempts(&part, body, Some(&key), among_others)).await?;
    let Some(coming) = coming else { return Err(MeshError::moved(None)) };
    call.hops.fetch_max(hops.load(Relaxed), Relaxed);
    let hops = coming.place.believed.hops;
    collect(*coming, call.shared.worker.common.limits.message_bytes).await.map(|message| (message, hops))
}

/// The one message of a part's response.
async fn collect(coming: Coming, limit: usize) -> Result<Bytes, MeshError> {
    let Coming { response, trip: _trip, .. } = coming;
    let (head, mut body) = response.into_parts();
    if body.is_end_stream() {
        return Err(failed(&head.headers));
    }
    let broken = |_| MeshError::new(Reason::Unavailable, "the response broke off");
    let mut bytes = BytesMut::new();
    while let Some(data) = body.data().await {
        let data = data.map_err(broken)?;
        if bytes.len() + data.len() > limit + frame::HEADER_LEN {
            return Err(MeshError::message_too_large(limit));
        }
        bytes.extend_from_slice(&data);
        release(&mut body, data.len());
    }
    let trailers = body.trailers().await.map_err(broken)?.unwrap_or_default();
    match status(&trailers) {
        Code::Ok => Ok(frame::only_message(&bytes.freeze(), Encoding::Identity, limit)?),
        _ => Err(failed(&trailers)),
    }
}

fn release(body: &mut RecvStream, bytes: usize) {
    // It fails only on a stream that has ended, whose window nobody needs.
    let _ = body.flow_control().release_capacity(bytes);
}

/// The error of a part that was answered with one.
fn failed(headers: &HeaderMap) -> MeshError {
    let code = status(headers);
    let text = tonic::Status::from_header_map(headers).map_or_else(String::new, |status| status.message().to_owned());
    MeshError::new(Reason::of_code(code), text).with_code(code)
}

/// One response; if no part was answered, the first part's error.
fn merge(split: &Split<'_>, answers: Vec<Answered>) -> Result<Reply, MeshError> {
    if let [Err(_), ..] = &answers[..]
        && answers.iter().all(Result::is_err)
    {
        return Err(answers.into_iter().find_map(Result::err).unwrap_or_else(|| MeshError::internal("no part")));
    }
    let messages: Vec<String> =
        answers.iter().map(|answer| answer.as_ref().err().map(ToString::to_string).unwrap_or_default()).collect();
    let outcomes: Vec<Outcome<'_>> = answers
        .iter()
        .zip(&messages)
        .map(|(answer, message)| match answer {
            Ok((response, _)) => Outcome::Answered(response),
            Err(error) => Outcome::Failed { code: error.code() as i32, message },
        })
        .collect();
    let hops = answers.iter().flatten().map(|(_, hops)| *hops).max().unwrap_or(0);
    let broken =
        |error: mesh_policy::BatchError| MeshError::internal(format!("a part's response is no batch: {error}"));
    Ok(Reply::Merged(Merged { message: split.merge(&outcomes).map_err(broken)?, hops }))
}
