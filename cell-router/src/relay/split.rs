//! Calls that name several users: sent on whole if all live in one cell, else split by the method's batch policy.

use super::{
    answer::{Call, Coming, Reply, attempts, end},
    pump::status,
    request::pay,
};
use crate::{brain::Brain, head::Admitted, worker::hops, world::World};
use bytes::{Bytes, BytesMut};
use cell_map::CellIndex;
use futures_util::future::join_all;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Request, Response, header};
use mesh_layers::{
    MeshError, Reason,
    budget::{self, ByteBudget},
    frame::{self, Encoding, HEADER_LEN},
    metadata,
};
use mesh_policy::{BatchOf, CanonicalKey, Outcome, Split};
use mesh_routing::decide::MAX_HOPS;
use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    task::{Context, Poll, ready},
};
use tonic::Code;

/// Most foreign keys that an error names.
const NAMED_KEYS: usize = 10;

/// A message put together from parts, or one part's, and what it holds of the budget.
pub(super) struct Merged {
    message: Bytes,
    hops: u32,
    held: budget::Bytes,
}

impl Merged {
    /// The head of the response.
    pub(super) fn head(&self, brain: &Brain) -> Response<()> {
        let mut response = Response::new(());
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(metadata::CELL, brain.worlds.instances().name.clone());
        headers.insert(metadata::HOPS, hops(self.hops));
        headers.insert(metadata::SOURCE, HeaderValue::from_static("router"));
        response
    }

    /// Sends message and trailers, no faster than the caller takes them.
    ///
    /// # Errors
    /// If he has gone.
    pub(super) async fn send(self, to: &mut SendStream<Bytes>) -> Result<(), h2::Error> {
        let header = Bytes::copy_from_slice(&frame::header(self.message.len()));
        for mut piece in [header, self.message] {
            while !piece.is_empty() {
                to.reserve_capacity(piece.len());
                let room = poll_fn(|cx| room(to, cx)).await?;
                to.send_data(piece.split_to(room.min(piece.len())), false)?;
            }
        }
        to.send_trailers(HeaderMap::from_iter([(metadata::GRPC_STATUS, HeaderValue::from_static("0"))]))
    }
}

/// Waits until the caller's window is open.
fn room(to: &mut SendStream<Bytes>, cx: &mut Context<'_>) -> Poll<Result<usize, h2::Error>> {
    loop {
        match to.capacity() {
            0 => match ready!(to.poll_capacity(cx)) {
                Some(more) => more.map(drop)?,
                None => return Poll::Ready(Err(h2::Reason::CANCEL.into())),
            },
            room => return Poll::Ready(Ok(room)),
        }
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
    divided(call, batch, message, keys, &groups).await.map(|merged| Reply::Merged(Box::new(merged)))
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
) -> Result<Merged, MeshError> {
    let budget = &call.shared.budget;
    let mut split = batch.split(message, groups).map_err(|error| {
        call.shared.senseless();
        MeshError::bad_request(error.to_string())
    })?;
    // Paid when it is known, as an inflated message is: until then `split` bounds it.
    let bytes = split.parts().iter().map(|part| HEADER_LEN + part.request.len()).sum();
    let _held = pay(budget, bytes)?;
    let requests: Vec<Bytes> = split.take_requests().map(|request| frame::encode(&request)).collect();
    let template = part_template(call.template);
    let answers = join_all(split.parts().iter().zip(requests).map(|(part, request)| {
        let keys = part.positions.iter().map(|position| keys[*position]).collect();
        one_part(call, batch, &template, request, keys)
    }));
    let answers = answers.await;
    merge(&split, answers, budget)
}

/// The same within a part whose home by the map refused it. Boxed, because a part is of the same making.
fn divided_again<'c>(
    call: &'c Call<'_>,
    batch: &'c BatchOf,
    message: &'c [u8],
    keys: &'c [CanonicalKey<'_>],
) -> Pin<Box<dyn Future<Output = Result<Merged, MeshError>> + Send + 'c>> {
    Box::pin(async move { divided(call, batch, message, keys, &by_key(keys)).await })
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

/// The answer to one part.
async fn one_part(
    call: &Call<'_>,
    batch: &BatchOf,
    template: &Request<()>,
    request: Bytes,
    keys: Vec<CanonicalKey<'_>>,
) -> Result<Merged, MeshError> {
    let hops = AtomicU32::new(0);
    let part = Call { shared: call.shared, admitted: call.admitted, template, record: call.record, hops: &hops };
    let among_others = keys.iter().any(|key| *key != keys[0]);
    let coming = Box::pin(attempts(&part, request.clone(), Some(&keys[0]), among_others)).await;
    call.hops.fetch_max(hops.load(Relaxed), Relaxed);
    match coming? {
        Some(coming) => {
            call.shared.answered(coming.response.headers());
            collect(*coming, call.shared.worker.common.limits.message_bytes, &call.shared.budget).await
        }
        // Only a part of several users comes here, so this divides once more and not again.
        None => divided_again(call, batch, &request[HEADER_LEN..], &keys).await,
    }
}

/// The one message of a part's response.
async fn collect(coming: Coming, limit: usize, budget: &ByteBudget) -> Result<Merged, MeshError> {
    let Coming { response, trip: _trip, place, span } = coming;
    let (head, mut body) = response.into_parts();
    if body.is_end_stream() {
        end(span, Some(status(&head.headers)));
        return Err(failed(&head.headers));
    }
    let broken = |_| MeshError::new(Reason::Unavailable, "the response broke off");
    let (mut bytes, mut held) = (BytesMut::new(), budget::Bytes::default());
    while let Some(data) = body.data().await {
        let data = data.map_err(broken)?;
        if bytes.len() + data.len() > limit + HEADER_LEN {
            return Err(MeshError::message_too_large(limit));
        }
        held.merge(pay(budget, data.len())?);
        bytes.extend_from_slice(&data);
        release(&mut body, data.len());
    }
    let trailers = body.trailers().await.map_err(broken)?.unwrap_or_default();
    end(span, Some(status(&trailers)));
    match status(&trailers) {
        Code::Ok => {
            let message = frame::only_message(&bytes.freeze(), Encoding::Identity, limit)?;
            Ok(Merged { message, hops: place.believed.hops, held })
        }
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
fn merge(split: &Split<'_>, answers: Vec<Result<Merged, MeshError>>, budget: &ByteBudget) -> Result<Merged, MeshError> {
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
            Ok(part) => Outcome::Answered(&part.message),
            Err(error) => Outcome::Failed { code: error.code() as i32, message },
        })
        .collect();
    let broken =
        |error: mesh_policy::BatchError| MeshError::internal(format!("a part's response is no batch: {error}"));
    let message: Bytes = split.merge(&outcomes).map_err(broken)?.into();
    // The parts' messages end here: what they held goes over to the merged one.
    let (mut hops, mut held, mut paid) = (0, budget::Bytes::default(), 0);
    for part in answers.into_iter().flatten() {
        hops = hops.max(part.hops);
        paid += part.message.len();
        held.merge(part.held);
    }
    held.merge(pay(budget, message.len().saturating_sub(paid))?);
    Ok(Merged { message, hops, held })
}
