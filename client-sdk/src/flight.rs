//! Single-flight: equal calls that run at the same time become one.
//!
//! Whoever waits for it drives it ([`Shared`]): a caller who goes away, the first one too, harms no other, and when all
//! are gone the call is cancelled.

use crate::{
    Code, Error, Fresh, Method, Source, Token,
    ladder::{self, Answer, Outgoing},
    shared::{Shared, WeakShared},
    span,
    stats::Counts,
};
use hashbrown::{DefaultHashBuilder, HashTable};
use std::{
    hash::BuildHasher,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tracing::Instrument as _;

/// Most callers that one flight answers. The next one starts another, which those after him join.
const MOST_CALLERS: u32 = 16 * 1024;

/// The calls of one method that are in flight.
pub(crate) struct Flights<M: Method> {
    hasher: DefaultHashBuilder,
    table: Mutex<Table<M>>,
}

struct Table<M: Method> {
    flights: HashTable<Flight<M>>,
    next: u64,
}

struct Flight<M: Method> {
    number: u64,
    /// The first caller's call.
    first: Arc<Outgoing<M>>,
    callers: u32,
    call: WeakShared<Answer<M>>,
}

/// What a caller does.
enum Seat<M: Method> {
    /// He is the first.
    First(Shared<Answer<M>>),
    /// He waits for another's call, and keeps his own for the case that it fails for itself.
    Joined { call: Shared<Answer<M>>, first: Arc<Outgoing<M>>, own: Arc<Outgoing<M>> },
}

impl<M: Method> Default for Flights<M> {
    fn default() -> Self {
        Self { hasher: DefaultHashBuilder::default(), table: Mutex::new(Table { flights: HashTable::new(), next: 0 }) }
    }
}

/// Joins an equal call in flight, or makes this one.
pub(crate) async fn fly<M: Method>(mut outgoing: Arc<Outgoing<M>>) -> Answer<M> {
    // A second time among others: a flight that ended with its first caller's deadline leaves as many as it had, and they
    // shall not all go alone.
    for _ in 0..2 {
        outgoing = match board(outgoing) {
            Seat::First(call) => return call.await.unwrap_or_else(ladder::broken::<M>),
            Seat::Joined { call, first, own } => match join(call, &first, &own).await {
                Err(error) if is_its_own(&error, &first, &own) => {
                    Counts::add(&own.slot.counts.retried);
                    own
                }
                answer => return answer,
            },
        };
        if outgoing.deadline <= ladder::now() {
            return Err(outgoing.late());
        }
    }
    ladder::carry(outgoing).await
}

async fn join<M: Method>(call: Shared<Answer<M>>, first: &Outgoing<M>, own: &Outgoing<M>) -> Answer<M> {
    let nth = Counts::add(&own.slot.counts.coalesced);
    let span = span::inside(&own.mesh, nth, own.slot.policy, "coalesced");
    let call = call.instrument(span.clone());
    let answer = if own.deadline < first.deadline {
        let late = |_| Some(Err(own.late()));
        tokio::time::timeout_at(own.deadline.into(), call).await.unwrap_or_else(late)
    } else {
        call.await
    };
    let answer = answer.unwrap_or_else(ladder::broken::<M>).map(|mut reply| {
        reply.source = Source::Coalesced { cell: reply.source.cell().cloned() };
        reply
    });
    span::end(&span, &answer);
    answer
}

/// Whether a flight's error says nothing about the call of one who joined it.
fn is_its_own<M: Method>(error: &Error, first: &Outgoing<M>, own: &Outgoing<M>) -> bool {
    match error.code() {
        Code::Cancelled => true,
        Code::DeadlineExceeded => own.deadline > first.deadline,
        // Perhaps nobody could meet the other's token.
        Code::Unavailable | Code::FailedPrecondition | Code::Aborted | Code::InvalidArgument => {
            token(&own.fresh) != token(&first.fresh)
        }
        _ => false,
    }
}

fn board<M: Method>(outgoing: Arc<Outgoing<M>>) -> Seat<M> {
    let Flights { hasher, .. } = &outgoing.slot.flights;
    let hash = hasher.hash_one((&outgoing.frame, &outgoing.kin));
    let mut table = outgoing.slot.flights.table();
    let mut place = None;
    if let Some(flight) = table.flights.find_mut(hash, |flight| flight.is_of(&outgoing)) {
        if flight.callers < MOST_CALLERS
            && flight.is_good_for(&outgoing)
            && let Some(call) = flight.call.upgrade()
        {
            flight.callers += 1;
            let first = Arc::clone(&flight.first);
            drop(table);
            return Seat::Joined { call, first, own: outgoing };
        }
        place = Some(flight.number);
    }
    let number = table.next;
    table.next += 1;
    let landing = Landing { first: Arc::clone(&outgoing), hash, number };
    let call = Shared::new(Box::pin(async move {
        let first = Arc::clone(&landing.first);
        let _landing = landing;
        ladder::carry(first).await
    }));
    let flight = Flight { number, first: Arc::clone(&outgoing), callers: 1, call: call.downgrade() };
    match place.and_then(|old| table.flights.find_mut(hash, |flight| flight.number == old)) {
        // Nobody joins that one any more.
        Some(old) => *old = flight,
        None => {
            let rehash = |flight: &Flight<M>| hasher.hash_one((&flight.first.frame, &flight.first.kin));
            table.flights.insert_unique(hash, flight, rehash);
        }
    }
    Seat::First(call)
}

impl<M: Method> Flights<M> {
    fn table(&self) -> MutexGuard<'_, Table<M>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<M: Method> Flight<M> {
    fn is_of(&self, outgoing: &Outgoing<M>) -> bool {
        let first = &self.first;
        let tokens = token(&first.fresh).is_some() == token(&outgoing.fresh).is_some();
        tokens && first.frame == outgoing.frame && first.kin == outgoing.kin
    }

    /// Its answer shows what was so when it started, at least.
    fn is_good_for(&self, outgoing: &Outgoing<M>) -> bool {
        match (&outgoing.fresh, token(&self.first.fresh)) {
            (Fresh::MaxAge(age), _) => outgoing.made.saturating_duration_since(self.first.made) <= *age,
            // When the write of the token was acknowledged is not known here: only a flight that shows it will do.
            (Fresh::AtLeast(asked), Some(shown)) => asked.is_met_by(shown.user_epoch, shown.position),
            (Fresh::AtLeast(_), None) | (Fresh::Authoritative, _) => false,
            (Fresh::Any | Fresh::StaleIfError(_), _) => true,
        }
    }
}

fn token(fresh: &Fresh) -> Option<&Token> {
    match fresh {
        Fresh::AtLeast(token) => Some(token),
        _ => None,
    }
}

/// Takes a flight out of the table when it ends, or nobody waits for it any more.
struct Landing<M: Method> {
    first: Arc<Outgoing<M>>,
    hash: u64,
    number: u64,
}

impl<M: Method> Drop for Landing<M> {
    fn drop(&mut self) {
        let mut table = self.first.slot.flights.table();
        if let Ok(flight) = table.flights.find_entry(self.hash, |flight| flight.number == self.number) {
            let (flight, _) = flight.remove();
            drop(table);
            drop(flight);
        }
    }
}

#[cfg(test)]
mod tests;
