//! Lanes: where calls gather that may share a batch. Natural batching: a call that finds its lane empty goes at once, by
//! itself; what comes while it is on its way gathers, and goes when it returns, when the batch is full, or when its
//! oldest item has waited long enough. No timer makes a lone call wait.

use super::{BatchGlue, carriage::Carriage, carriage::Ticket, send};
use crate::{
    Method,
    ladder::{self, Answer, Kin, Outgoing},
    shared::{Shared, WeakShared},
    wire::Destination,
};
use hashbrown::HashMap;
use mesh_routing::retry::REPLAY_BYTES;
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Most lanes of one method; calls beyond go by themselves.
const MOST_LANES: usize = 512;
/// Most lanes of one destination that differ in what their requests have beside the item.
const MOST_GROUPS: usize = 64;
/// What an item may need in a batch beyond its bytes as a request.
const ITEM_OVERHEAD: usize = 8;
/// How long a method is not batched whose batch RPC does not answer as it should.
const PAUSE: Duration = Duration::from_secs(10);

/// The lanes of one method.
pub(crate) struct Lanes<M: Method>(Mutex<Table<M>>);

struct Table<M: Method> {
    lanes: HashMap<Name, Vec<Arc<Lane<M>>>>,
    count: usize,
    paused_until: Option<Instant>,
}

/// What items of one lane have in common; beside it their requests must join.
#[derive(PartialEq, Eq, Hash)]
struct Name {
    destination: Destination,
    kin: Kin,
    /// Binary logarithm of the milliseconds left: a batch ends with the first of its items' deadlines, so that it takes
    /// from no item more than half of its time. A call in a greater hurry goes in a batch of its like, or by itself.
    hurry: u32,
}

/// Items that may share a batch.
pub(super) struct Lane<M: Method> {
    /// Any request of the lane, to tell which others join.
    sample: M::Request,
    state: Mutex<State<M>>,
}

struct State<M: Method> {
    /// Calls on their way, of one item or many.
    flying: usize,
    open: Option<Open<M>>,
    arrivals: Arrivals,
}

/// The batch that gathers.
struct Open<M: Method> {
    carriage: Arc<Carriage<M>>,
    ride: WeakShared<()>,
    bytes: usize,
}

/// How large a batch may become.
#[derive(Clone, Copy)]
struct Room {
    items: usize,
    bytes: usize,
}

/// A call on its way in a lane. When it ends, the lane's open batch goes.
pub(super) struct Flying<M: Method>(Arc<Lane<M>>);

enum Boarding<M: Method> {
    Alone(Flying<M>, Arc<Outgoing<M>>),
    Seat(Ticket<M>),
}

impl<M: Method> Default for Lanes<M> {
    fn default() -> Self {
        Self(Mutex::new(Table { lanes: HashMap::new(), count: 0, paused_until: None }))
    }
}

/// Makes a call that may travel with others of its lane.
pub(crate) async fn ride<M: Method>(outgoing: Arc<Outgoing<M>>, glue: BatchGlue<M>) -> Answer<M> {
    let slot = Arc::clone(&outgoing.slot);
    let room = Room {
        items: slot.policy.batch.map_or(0, |batch| batch.max as usize),
        // A larger message could not be sent again (OWN-9).
        bytes: glue.policy.max_request_bytes.map_or(REPLAY_BYTES, |max| REPLAY_BYTES.min(max as usize)),
    };
    if room.items < 2 || size(&outgoing) > room.bytes {
        return ladder::alone(&outgoing).await;
    }
    let Some(lane) = slot.lanes.lane(&outgoing, glue) else { return ladder::alone(&outgoing).await };
    match lane.board(outgoing, glue, room) {
        Boarding::Alone(_flying, outgoing) => ladder::alone(&outgoing).await,
        Boarding::Seat(ticket) => ticket.ride().await,
    }
}

fn size<M: Method>(outgoing: &Outgoing<M>) -> usize {
    outgoing.frame.len() + ITEM_OVERHEAD
}

impl<M: Method> Lanes<M> {
    /// The lane of a call; none if it had better go by itself.
    fn lane(&self, outgoing: &Outgoing<M>, glue: BatchGlue<M>) -> Option<Arc<Lane<M>>> {
        let left = outgoing.deadline.saturating_duration_since(outgoing.made);
        let name = Name {
            destination: outgoing.destination(outgoing.key.as_ref()),
            kin: outgoing.kin.clone(),
            hurry: left.as_millis().max(1).ilog2(),
        };
        let mut table = self.table();
        if table.paused_until.is_some_and(|until| outgoing.made < until) {
            return None;
        }
        let joins = |lane: &&Arc<Lane<M>>| (glue.joins)(&lane.sample, &outgoing.request);
        if let Some(lane) = table.lanes.get(&name).and_then(|lanes| lanes.iter().find(joins)) {
            return Some(Arc::clone(lane));
        }
        let Table { lanes, count, .. } = &mut *table;
        if *count >= MOST_LANES {
            lanes.retain(|_, lanes| sweep(lanes, count) > 0);
        }
        let lanes = lanes.entry(name).or_default();
        if lanes.len() >= MOST_GROUPS {
            sweep(lanes, count);
        }
        if *count >= MOST_LANES || lanes.len() >= MOST_GROUPS {
            return None;
        }
        let state = State { flying: 0, open: None, arrivals: Arrivals::default() };
        let lane = Arc::new(Lane { sample: outgoing.request.clone(), state: Mutex::new(state) });
        lanes.push(Arc::clone(&lane));
        *count += 1;
        Some(lane)
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.table().lanes.values().map(Vec::len).sum()
    }

    /// Does without batches for a while.
    pub fn pause(&self, now: Instant) {
        self.table().paused_until = Some(now + PAUSE);
    }

    fn table(&self) -> MutexGuard<'_, Table<M>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Drops the lanes that nobody uses at present; how many are left.
fn sweep<M: Method>(lanes: &mut Vec<Arc<Lane<M>>>, count: &mut usize) -> usize {
    let before = lanes.len();
    // Others are made under the table's lock only, or of others.
    lanes.retain(|lane| Arc::strong_count(lane) > 1);
    *count -= before - lanes.len();
    lanes.len()
}

impl<M: Method> Lane<M> {
    /// Gives a call a seat in the open batch, or lets it go alone if nothing is on its way and nothing is expected.
    fn board(self: Arc<Self>, outgoing: Arc<Outgoing<M>>, glue: BatchGlue<M>, room: Room) -> Boarding<M> {
        let mut state = self.state();
        let open = state.open.as_ref().and_then(|open| open.ride.upgrade());
        let busy = state.flying > 0 || open.is_some();
        let expected = state.arrivals.are_dense() || outgoing.gather;
        state.arrivals.come(outgoing.made, busy);
        if !busy && !expected {
            state.flying += 1;
            drop(state);
            return Boarding::Alone(Flying(self), outgoing);
        }
        let bytes = size(&outgoing);
        // What is poked and what is dropped may run others' code: not under the lock.
        let (ticket, full, over) = match (open, &mut state.open) {
            (Some(ride), Some(open)) if open.bytes + bytes <= room.bytes => {
                open.bytes += bytes;
                let ticket = Ticket::new(&open.carriage, ride, outgoing);
                let full = if ticket.seat() + 1 == room.items { state.open.take() } else { None };
                (ticket, full, None)
            }
            (other, open) => {
                let wait = busy.then_some(outgoing.mesh.settings().batch_wait);
                let carriage = Arc::new(Carriage::default());
                let ride = send::run(Arc::clone(&self), Arc::clone(&carriage), glue, wait);
                let ride = Shared::new(Box::pin(ride));
                let next = Open { carriage: Arc::clone(&carriage), ride: ride.downgrade(), bytes };
                (Ticket::new(&carriage, ride, outgoing), open.replace(next), other)
            }
        };
        drop(state);
        if let Some(full) = full {
            full.carriage.close();
        }
        drop(over);
        Boarding::Seat(ticket)
    }

    /// The batch goes: it is open no more.
    pub fn depart(self: &Arc<Self>, carriage: &Arc<Carriage<M>>) -> Flying<M> {
        let mut state = self.state();
        state.open.take_if(|open| Arc::ptr_eq(&open.carriage, carriage));
        state.flying += 1;
        Flying(Arc::clone(self))
    }

    /// Whether calls come so fast that the next one is worth waiting for.
    pub fn is_dense(&self) -> bool {
        self.state().arrivals.are_dense()
    }

    fn state(&self) -> MutexGuard<'_, State<M>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<M: Method> Drop for Flying<M> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.flying -= 1;
        let next = state.open.as_ref().map(|open| Arc::clone(&open.carriage));
        drop(state);
        if let Some(next) = next {
            next.poke();
        }
    }
}

/// How fast calls come: a moving average of the gaps between them.
#[derive(Debug)]
struct Arrivals {
    last: Option<Instant>,
    gap_ns: u64,
}

impl Arrivals {
    /// Gaps below are worth waiting for the next call.
    const DENSE_NS: u64 = 10_000;
    /// No gap counts more: a pause is soon forgotten.
    const LONGEST_NS: u64 = 1_000_000;
    /// A call that finds its lane empty counts as after such a gap at least: one caller, however fast, has no company.
    const LONELY_NS: u64 = 100_000;

    fn are_dense(&self) -> bool {
        self.gap_ns < Self::DENSE_NS
    }

    fn come(&mut self, now: Instant, busy: bool) {
        let gap = self.last.map_or(Duration::MAX, |last| now.saturating_duration_since(last));
        let gap = u64::try_from(gap.as_nanos()).unwrap_or(u64::MAX).min(Self::LONGEST_NS);
        let gap = if busy { gap } else { gap.max(Self::LONELY_NS) };
        self.gap_ns = self.gap_ns - self.gap_ns / 8 + gap / 8;
        self.last = Some(now);
    }
}

impl Default for Arrivals {
    fn default() -> Self {
        Self { last: None, gap_ns: Self::LONGEST_NS }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn play(gaps: impl IntoIterator<Item = (u64, bool)>) -> Arrivals {
        let (mut now, mut arrivals) = (Instant::now(), Arrivals::default());
        for (micros, busy) in gaps {
            now += Duration::from_micros(micros);
            arrivals.come(now, busy);
        }
        arrivals
    }

    #[test]
    fn one_caller_is_never_dense_however_fast() {
        assert!(!play([(1, false); 1000]).are_dense());
    }

    #[test]
    fn bursts_are_dense_and_a_pause_of_many_calls_ends_it() {
        let burst = || [(50, false)].into_iter().chain([(1, true); 15]);
        let bursts = (0..10).flat_map(|_| burst());
        assert!(play(bursts.clone()).are_dense());
        assert!(!play(bursts.chain([(2000, false); 2])).are_dense());
    }
}
