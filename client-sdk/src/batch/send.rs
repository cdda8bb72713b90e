//! Sends a batch when its time has come, and tells each caller what came of his item.

use super::{
    BatchGlue, ItemResult,
    carriage::{Carriage, End, Rider},
    is_about_home, item_error,
    lane::Lane,
};
use crate::{
    Code, Error, Fresh, Method, Reply, Scope, Source,
    ladder::{self, Outgoing},
    stats::Counts,
    wire::{Destination, WireReply},
};
use hashbrown::HashMap;
use mesh_layers::frame;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// Longest time that a batch waits for company while calls come in a dense row.
const DENSE_WAIT: Duration = Duration::from_micros(100);

/// A batch from its first item to its end. Without `wait` nothing is on its way: it goes as soon as no more come.
pub(super) async fn run<M: Method>(
    lane: Arc<Lane<M>>,
    carriage: Arc<Carriage<M>>,
    glue: BatchGlue<M>,
    wait: Option<Duration>,
) {
    if let Some(wait) = wait {
        // Its time is over, or it was poked: all the same.
        let _ = tokio::time::timeout(wait, carriage.poked()).await;
    }
    if wait.is_none() || lane.is_dense() {
        gather(&carriage).await;
    }
    let flying = lane.depart(&carriage);
    let mut riders = carriage.depart();
    let now = ladder::now();
    for late in riders.extract_if(.., |rider| rider.outgoing.deadline <= now) {
        let error = late.outgoing.late();
        carriage.end(late.seat, End::Answered(Err(error)));
    }
    if !riders.is_empty() {
        send(&carriage, glue, riders, now).await;
    }
    drop(flying);
}

/// Lets the runtime run what is ready, as long as that brings more items.
async fn gather<M: Method>(carriage: &Carriage<M>) {
    let began = ladder::now();
    loop {
        let (before, _) = carriage.filled();
        tokio::task::yield_now().await;
        let (after, closed) = carriage.filled();
        if closed || after == before || ladder::now() - began >= DENSE_WAIT {
            return;
        }
    }
}

async fn send<M: Method>(carriage: &Carriage<M>, glue: BatchGlue<M>, riders: Vec<Rider<M>>, now: Instant) {
    let (positions, items) = load(&riders, M::POLICY.reads());
    let calls = riders.iter().map(|rider| &rider.outgoing);
    let first = &riders[0].outgoing;
    let counts = &first.slot.counts;
    let several_users = calls.clone().any(|call| call.key != first.key);
    let ends = calls.clone().map(|call| call.deadline).min().unwrap_or(now);
    let count = items.len();
    let alone = count == 1;

    let mut call = match alone {
        true => first.wire_call(first.frame.clone()),
        false => first.wire_call(frame::encode(&(glue.request)(&items))),
    };
    call.deadline = ends;
    call.fresh = freshest(calls.map(|call| &call.fresh));
    call.wants.among_others = several_users;
    call.wants.by_router = several_users && !are_of_one_cell(&riders);
    if !alone {
        call.policy = glue.policy;
        call.deadline = glue.policy.max_deadline.map_or(ends, |max| ends.min(now + max));
        counts.batched.fetch_add(riders.len() as u64, std::sync::atomic::Ordering::Relaxed);
        counts.batch(count);
    }
    let ends = call.deadline;
    Counts::add(&counts.wire);
    let answer = first.mesh.wire().unary(call).await;

    let whole = match answer {
        Ok(reply) => match responses(glue, &reply, count) {
            Ok(results) => return deliver(carriage, riders, positions, results, &reply, several_users),
            // What it did is unknown; it has answered.
            Err(why) => Whole { error: why, ends, is_batch: !alone, malformed: true },
        },
        Err(error) => Whole { error, ends, is_batch: !alone, malformed: false },
    };
    if whole.is_batch && (whole.malformed || whole.error.code() == Code::Unimplemented) {
        first.slot.lanes.pause(ladder::now());
    }
    for Rider { seat, outgoing } in riders {
        let end = match whole.says_nothing_of(outgoing.repeatable(), outgoing.deadline) {
            true => End::Again(outgoing),
            false => End::Answered(Err(whole.error.clone())),
        };
        carriage.end(seat, end);
    }
}

/// The items to send and the position of each rider's. Equal reads are sent once; most became one call before they came here.
fn load<M: Method>(riders: &[Rider<M>], reads: bool) -> (Vec<usize>, Vec<&[u8]>) {
    let messages = riders.iter().map(|rider| rider.outgoing.message());
    let coalesced = |rider: &Rider<M>| rider.outgoing.coalesce && rider.outgoing.fresh == Fresh::Any;
    if !reads || riders.iter().all(coalesced) {
        return ((0..riders.len()).collect(), messages.collect());
    }
    let (mut items, mut known) = (Vec::with_capacity(riders.len()), HashMap::with_capacity(riders.len()));
    let positions = messages.map(|message| {
        *known.entry(message).or_insert_with(|| {
            items.push(message);
            items.len() - 1
        })
    });
    (positions.collect(), items)
}

/// What satisfies all.
fn freshest<'a>(mut all: impl Iterator<Item = &'a Fresh> + Clone) -> Fresh {
    let strict = |fresh: &&Fresh| matches!(fresh, Fresh::AtLeast(_) | Fresh::Authoritative);
    match all.clone().find(strict) {
        None => Fresh::Any,
        Some(one) if all.all(|other| other == one) => one.clone(),
        Some(_) => Fresh::Authoritative,
    }
}

/// The result of each item, in order; a message that holds anything else is an error.
fn responses<M: Method>(glue: BatchGlue<M>, reply: &WireReply, items: usize) -> Result<Vec<ItemResult<M>>, Error> {
    if items == 1 {
        return Ok(vec![Ok(ladder::decode::<M>(&reply.message)?)]);
    }
    let broken = |why: String| {
        let error = Error::new(Code::Internal, format!("the response of {} is malformed: {why}", glue.policy.path));
        error.at_cell(reply.cell.clone()).after(reply.attempts)
    };
    let results = (glue.responses)(&reply.message).map_err(|error| broken(error.to_string()))?;
    match results.len() {
        found if found == items => Ok(results),
        found => Err(broken(format!("{found} results for {items} items"))),
    }
}

fn deliver<M: Method>(
    carriage: &Carriage<M>,
    riders: Vec<Rider<M>>,
    positions: Vec<usize>,
    results: Vec<ItemResult<M>>,
    reply: &WireReply,
    several_users: bool,
) {
    let items = results.len();
    let mut left = vec![0_usize; items];
    positions.iter().for_each(|position| left[*position] += 1);
    let mut results: Vec<_> = results.into_iter().map(Some).collect();
    for (Rider { seat, outgoing }, position) in riders.into_iter().zip(positions) {
        left[position] -= 1;
        let last = left[position] == 0;
        let result = if last { results[position].take() } else { results[position].clone() };
        let end = match result.expect("it is taken by the last who shares it") {
            Ok(value) => {
                let source = match items {
                    1 if last => reply.source(),
                    1 => Source::Coalesced { cell: reply.cell.clone() },
                    items => {
                        Source::Batched { items: u32::try_from(items).unwrap_or(u32::MAX), cell: reply.cell.clone() }
                    }
                };
                // A token is one user's.
                let token = reply.token.clone().filter(|_| !several_users);
                End::Answered(Ok(Reply::new(value, source, token)))
            }
            Err((code, _)) if several_users && may_be_elsewhere(Code::from_number(code), &outgoing) => {
                End::Again(outgoing)
            }
            Err(error) => {
                let error = item_error(error).at_cell(reply.cell.clone());
                End::Answered(Err(error.after(reply.attempts)))
            }
        };
        carriage.end(seat, end);
    }
}

/// Whether an item may have failed because its user lives elsewhere, or moves, which only a call of its own follows: the
/// status of an item has no room for the mesh's details. A router has followed moves itself.
fn may_be_elsewhere<M: Method>(code: Code, outgoing: &Outgoing<M>) -> bool {
    outgoing.slot.policy.scope == Scope::User
        && outgoing.repeatable()
        && match code {
            Code::FailedPrecondition => true,
            Code::Unavailable => outgoing.destination(outgoing.key.as_ref()) != Destination::Router,
            _ => false,
        }
}

/// Whether all items are at home in one cell. They were put together for one place, but a new map may have parted them, or
/// a router is to find their homes.
fn are_of_one_cell<M: Method>(riders: &[Rider<M>]) -> bool {
    let mut homes = riders.iter().map(|Rider { outgoing, .. }| outgoing.destination(outgoing.key.as_ref()));
    homes.next().is_some_and(|home| home != Destination::Router && homes.all(|other| other == home))
}

/// A batch that failed as a whole.
struct Whole {
    error: Error,
    ends: Instant,
    /// Whether it was the batch RPC, and not the single one.
    is_batch: bool,
    malformed: bool,
}

impl Whole {
    /// Whether the failure says nothing of one item: the batch ended before the item's deadline, an answer speaks of
    /// another item's user or of what another item's caller wrote into it, or the batch RPC is broken. What says that the
    /// server is in trouble holds for each item: many calls instead of one would not help it.
    fn says_nothing_of(&self, repeatable: bool, deadline: Instant) -> bool {
        if self.is_batch && is_about_home(&self.error) && self.error.reason() != Some("MOVED") {
            return true;
        }
        if !repeatable {
            return false;
        }
        match self.error.code() {
            Code::DeadlineExceeded | Code::Cancelled => deadline > self.ends,
            _ if !self.is_batch => false,
            Code::ResourceExhausted => self.error.reason() == Some("MESSAGE_TOO_LARGE"),
            Code::Unavailable => is_about_home(&self.error),
            Code::Aborted | Code::Unauthenticated => false,
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests;
