//! Splits a batch that a caller made himself over the cells where its items' users live.

use super::{ItemError, SplitGlue, is_about_home};
use crate::{
    Code, Error, Method, Reply, Source,
    ladder::{self, Answer, Outgoing},
    wire::Destination,
};
use cell_map::UserKey;
use futures_util::future::join_all;
use std::sync::Arc;

/// Items that travel together.
struct Part {
    destination: Destination,
    positions: Vec<usize>,
    key: Option<UserKey>,
    several_users: bool,
}

/// What came of a part.
struct Outcome<M: Method> {
    positions: Vec<usize>,
    answer: Answer<M>,
}

/// Sends a batch: as it is if it has one destination, else in parts, all at once. Items of a part that failed get its
/// status; if every part failed, the call fails with the first one's error.
pub(crate) async fn split<M: Method>(outgoing: Arc<Outgoing<M>>, glue: SplitGlue<M>) -> Answer<M> {
    let Some(first) = first::<M>(&outgoing, glue)? else {
        return ladder::alone(&outgoing).await;
    };
    let parts = if first.together {
        let mut call = outgoing.wire_call(outgoing.frame.clone());
        call.key = first.key;
        call.wants.among_others = first.several_users;
        let answer = ladder::send(&outgoing, call).await;
        match answer {
            // Of whom it speaks, each key tells when it is asked for alone.
            Err(error) if first.several_users && may_go_on(&error, &outgoing) => {
                by_key(keys(&outgoing, glue)?, &outgoing)
            }
            answer => return answer,
        }
    } else {
        by_destination(keys(&outgoing, glue)?, &outgoing, glue.max)
    };
    let outcomes = join_all(parts.into_iter().map(|part| send(&outgoing, glue, part))).await;
    merge(&outgoing, glue, outcomes.into_iter().flatten().collect())
}

/// Whether each user's items may be sent alone after such an answer: it speaks of homes, and nothing was done that would
/// be done twice. `MOVED` says that something may have been (OWN-9).
fn may_go_on<M: Method>(error: &Error, outgoing: &Outgoing<M>) -> bool {
    is_about_home(error) && (error.reason() != Some("MOVED") || outgoing.repeatable())
}

/// What the first item tells of all.
struct First {
    key: Option<UserKey>,
    several_users: bool,
    /// One destination, and not too many for one call.
    together: bool,
}

/// Looks through the items without keeping any; none if there are none.
fn first<M: Method>(outgoing: &Outgoing<M>, glue: SplitGlue<M>) -> Result<Option<First>, Error> {
    let mut first: Option<(First, Destination)> = None;
    let (mut count, mut wrong) = (0, None);
    (glue.keys)(&outgoing.request, &mut |key| {
        count += 1;
        let key = match key {
            Ok(key) => key,
            Err(error) => return wrong = wrong.take().or(Some(error)),
        };
        let bytes = key.as_ref().map(|key| key.as_bytes());
        let wire = outgoing.mesh.wire();
        match &mut first {
            Some((first, _)) if first.key.as_ref().map(UserKey::as_bytes) == bytes => {}
            Some((first, destination)) => {
                first.several_users = true;
                first.together = first.together && wire.destination(outgoing.slot.policy, bytes) == *destination;
            }
            None => {
                let destination = wire.destination(outgoing.slot.policy, bytes);
                let key = key.map(|key| key.to_user_key());
                first = Some((First { key, several_users: false, together: true }, destination));
            }
        }
    });
    if let Some(error) = wrong {
        return Err(ladder::refused(&error));
    }
    Ok(first.map(|(first, _)| First { together: first.together && count <= glue.max, ..first }))
}

fn keys<M: Method>(outgoing: &Outgoing<M>, glue: SplitGlue<M>) -> Result<Vec<Option<UserKey>>, Error> {
    let mut keys = Vec::new();
    (glue.keys)(&outgoing.request, &mut |key| keys.push(key.map(|key| key.map(|key| key.to_user_key()))));
    keys.into_iter().collect::<Result<_, _>>().map_err(|error| ladder::refused(&error))
}

fn by_destination<M: Method>(keys: Vec<Option<UserKey>>, outgoing: &Outgoing<M>, max: usize) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for (position, key) in keys.into_iter().enumerate() {
        let destination = outgoing.destination(key.as_ref());
        let has_room = |part: &&mut Part| part.destination == destination && part.positions.len() < max;
        match parts.iter_mut().find(has_room) {
            Some(part) => {
                part.several_users |= part.key != key;
                part.positions.push(position);
            }
            None => parts.push(Part { destination, positions: vec![position], key, several_users: false }),
        }
    }
    parts
}

fn by_key<M: Method>(keys: Vec<Option<UserKey>>, outgoing: &Outgoing<M>) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for (position, key) in keys.into_iter().enumerate() {
        match parts.iter_mut().find(|part| part.key == key) {
            Some(part) => part.positions.push(position),
            None => {
                let destination = outgoing.destination(key.as_ref());
                parts.push(Part { destination, positions: vec![position], key, several_users: false });
            }
        }
    }
    parts
}

/// Sends a part; if its cell speaks of homes, which may be of any of its users, once more for each of them.
async fn send<M: Method>(outgoing: &Outgoing<M>, glue: SplitGlue<M>, part: Part) -> Vec<Outcome<M>> {
    let outcome = send_once(outgoing, glue, &part).await;
    match &outcome.answer {
        Err(error) if part.several_users && may_go_on(error, outgoing) => {}
        _ => return vec![outcome],
    }
    let keys = match keys(outgoing, glue) {
        Ok(keys) => part.positions.iter().map(|position| keys[*position].clone()).collect(),
        Err(_) => return vec![outcome],
    };
    let mut parts = by_key(keys, outgoing);
    for own in &mut parts {
        own.positions.iter_mut().for_each(|position| *position = part.positions[*position]);
    }
    join_all(parts.iter().map(|part| send_once(outgoing, glue, part))).await
}

async fn send_once<M: Method>(outgoing: &Outgoing<M>, glue: SplitGlue<M>, part: &Part) -> Outcome<M> {
    let positions = part.positions.clone();
    let request = (glue.select)(&outgoing.request, &positions);
    let answer = match ladder::frame(&request) {
        Ok(frame) => {
            let mut call = outgoing.wire_call(frame);
            call.key = part.key.clone();
            call.wants.among_others = part.several_users;
            ladder::send(outgoing, call).await
        }
        Err(error) => Err(error),
    };
    let answer = answer.map_err(|error| match (error.cell(), &part.destination) {
        (None, Destination::Cell(cell)) => error.at_cell(Some(cell.clone())),
        _ => error,
    });
    Outcome { positions, answer }
}

fn merge<M: Method>(outgoing: &Outgoing<M>, glue: SplitGlue<M>, outcomes: Vec<Outcome<M>>) -> Answer<M> {
    let answered: Vec<&Reply<M::Response>> =
        outcomes.iter().filter_map(|outcome| outcome.answer.as_ref().ok()).collect();
    let Some(one) = answered.first() else {
        let first = outcomes.into_iter().find_map(|outcome| outcome.answer.err());
        return Err(first.unwrap_or_else(|| Error::new(Code::Internal, "a batch without parts")));
    };
    let cell = one.source.cell().filter(|cell| answered.iter().all(|other| other.source.cell() == Some(cell)));
    let cell = cell.cloned();
    let (attempts, hops) = answered.iter().fold((0_u8, 0), |(attempts, hops), reply| match reply.source {
        Source::Remote { attempts: more, hops: other, .. } => (attempts.saturating_add(more), hops.max(other)),
        _ => (attempts, hops),
    });
    let parts = outcomes.into_iter().map(|Outcome { positions, answer }| {
        (positions, answer.map(Reply::into_inner).map_err(|error| status(&error)))
    });
    let merged = (glue.merge)(&outgoing.request, parts.collect());
    let value = merged.map_err(|why| {
        let why = format!("the parts' responses cannot be merged: {why}");
        Error::new(Code::Internal, why)
    })?;
    // A token is one user's.
    Ok(Reply::new(value, Source::Remote { cell, attempts, hops }, None))
}

/// A part's failure as the status of its items, which names the cell.
fn status(error: &Error) -> ItemError {
    let message = match error.cell() {
        Some(cell) => format!("{} (cell {cell})", error.message()),
        None => error.message().to_owned(),
    };
    (error.code().number(), message)
}
