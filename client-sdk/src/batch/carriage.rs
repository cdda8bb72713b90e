//! One batch: the calls that gather in it, and what comes of each.

use crate::{
    Code, Error, Method,
    ladder::{self, Answer, Outgoing},
    shared::Shared,
    stats::Counts,
};
use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::Notify;

/// The seats of one batch.
pub(super) struct Carriage<M: Method> {
    seats: Mutex<Seats<M>>,
    poke: Notify,
}

struct Seats<M: Method> {
    seats: Vec<Seat<M>>,
    closed: bool,
}

enum Seat<M: Method> {
    Waiting(Arc<Outgoing<M>>),
    /// Its call is on its way, or its caller has gone.
    Empty,
    Over(End<M>),
}

/// What came of a call in a batch.
pub(super) enum End<M: Method> {
    Answered(Answer<M>),
    /// The batch says nothing about it: it goes by itself.
    Again(Arc<Outgoing<M>>),
}

/// A call that the batch carries, with its seat.
pub(super) struct Rider<M: Method> {
    pub seat: usize,
    pub outgoing: Arc<Outgoing<M>>,
}

/// A caller's seat. Dropping it gives it up.
pub(super) struct Ticket<M: Method> {
    carriage: Arc<Carriage<M>>,
    seat: usize,
    ride: Shared<()>,
}

impl<M: Method> Default for Carriage<M> {
    fn default() -> Self {
        Self { seats: Mutex::new(Seats { seats: Vec::new(), closed: false }), poke: Notify::new() }
    }
}

impl<M: Method> Carriage<M> {
    /// Nobody gets in any more: it goes now.
    pub fn close(&self) {
        self.seats().closed = true;
        self.poke();
    }

    /// It need not wait for its time.
    pub fn poke(&self) {
        self.poke.notify_one();
    }

    /// Until it is poked.
    pub async fn poked(&self) {
        self.poke.notified().await;
    }

    /// How many got in, and whether nobody does any more.
    pub fn filled(&self) -> (usize, bool) {
        let seats = self.seats();
        (seats.seats.len(), seats.closed)
    }

    /// The calls whose callers still wait.
    pub fn depart(&self) -> Vec<Rider<M>> {
        let mut seats = self.seats();
        let riders =
            seats.seats.iter_mut().enumerate().filter_map(|(number, seat)| match mem::replace(seat, Seat::Empty) {
                Seat::Waiting(outgoing) => Some(Rider { seat: number, outgoing }),
                _ => None,
            });
        riders.collect()
    }

    /// Tells what came of a call.
    pub fn end(&self, seat: usize, end: End<M>) {
        let old = self.seats().seats.get_mut(seat).map(|seat| mem::replace(seat, Seat::Over(end)));
        drop(old);
    }

    fn take(&self, seat: usize) -> Option<Seat<M>> {
        self.seats().seats.get_mut(seat).map(|seat| mem::replace(seat, Seat::Empty))
    }

    fn seats(&self) -> MutexGuard<'_, Seats<M>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<M: Method> Ticket<M> {
    pub fn new(carriage: &Arc<Carriage<M>>, ride: Shared<()>, outgoing: Arc<Outgoing<M>>) -> Self {
        let mut seats = carriage.seats();
        seats.seats.push(Seat::Waiting(outgoing));
        let seat = seats.seats.len() - 1;
        drop(seats);
        Self { carriage: Arc::clone(carriage), seat, ride }
    }

    pub fn seat(&self) -> usize {
        self.seat
    }

    /// Waits for what comes of it.
    pub async fn ride(mut self) -> Answer<M> {
        (&mut self.ride).await;
        match self.carriage.take(self.seat) {
            Some(Seat::Over(End::Answered(answer))) => answer,
            Some(Seat::Over(End::Again(outgoing))) => {
                drop(self);
                Counts::add(&outgoing.slot.counts.retried);
                ladder::alone(&outgoing).await
            }
            _ => Err(Error::new(Code::Internal, "the batch panicked")),
        }
    }
}

impl<M: Method> Drop for Ticket<M> {
    fn drop(&mut self) {
        let left = self.carriage.take(self.seat);
        drop(left);
    }
}
