//! Whose turn it is among the transactions that may share their COMMIT.

use crate::{Engine, Mode, StorageError, db::Inner, group::Group, run::Way};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep_until, timeout, timeout_at},
};

/// Who waits for a turn among the transactions that share their COMMIT.
pub(crate) struct Groups<E: Engine>(Mutex<Queue<E>>);

struct Queue<E: Engine> {
    /// Whether somebody has the seat.
    led: bool,
    waiting: VecDeque<oneshot::Sender<Turn<E>>>,
}

/// What a transaction finds when it is its turn.
pub(crate) enum Turn<E: Engine> {
    /// Nobody is at work: it begins.
    Lead(Seat<E>),
    /// The work before it is done: it goes on in the same transaction.
    Follow(E::Lease, Group<E>),
}

/// The right to begin. Dropping it gives it to whoever waits longest.
pub(crate) struct Seat<E: Engine>(Arc<Groups<E>>);

impl<E: Engine> Groups<E> {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Queue { led: false, waiting: VecDeque::new() }))
    }

    fn queue(&self) -> MutexGuard<'_, Queue<E>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the seat if it is free, else a place in the queue.
    pub(crate) fn join(self: &Arc<Self>) -> Result<Seat<E>, oneshot::Receiver<Turn<E>>> {
        let mut queue = self.queue();
        if !queue.led {
            queue.led = true;
            return Ok(Seat(Arc::clone(self)));
        }
        let (turn, mine) = oneshot::channel();
        queue.waiting.push_back(turn);
        Err(mine)
    }

    /// How many wait or are at work.
    #[cfg(feature = "conformance")]
    pub(crate) fn gathered(&self) -> usize {
        let queue = self.queue();
        usize::from(queue.led) + queue.waiting.len()
    }

    /// Whoever waits longest and has not left.
    pub(crate) fn next(&self) -> Option<oneshot::Sender<Turn<E>>> {
        let mut queue = self.queue();
        while let Some(next) = queue.waiting.pop_front() {
            if !next.is_closed() {
                return Some(next);
            }
        }
        None
    }
}

impl<E: Engine> Seat<E> {
    /// Where others wait.
    pub(crate) fn groups(&self) -> Arc<Groups<E>> {
        Arc::clone(&self.0)
    }
}

impl<E: Engine> Drop for Seat<E> {
    fn drop(&mut self) {
        let mut queue = self.0.queue();
        while let Some(next) = queue.waiting.pop_front() {
            if next.is_closed() {
                continue;
            }
            drop(queue);
            // If he left just now, the seat comes back unsent, and its own drop looks further.
            let _ = next.send(Turn::Lead(Self(Arc::clone(&self.0))));
            return;
        }
        queue.led = false;
    }
}

/// Waits for its turn and begins, or goes on in a transaction that is open.
pub(crate) async fn enter<E: Engine, A>(
    way: Way,
    inner: &Inner<E>,
    reply: &mut oneshot::Sender<A>,
) -> Result<(E::Lease, Group<E>), StorageError> {
    const SLOW: StorageError = StorageError::Busy("the queue for a connection was too slow");
    let limit = Instant::now() + inner.settings.queue_limit;
    let mut seat = None;
    if let Some(groups) = inner.groups.as_ref().filter(|_| way.shares && way.mode == Mode::Write) {
        match groups.join() {
            Ok(free) => seat = Some(free),
            Err(mut turn) => {
                let left = tokio::select! {
                    biased;
                    turn = &mut turn => match turn {
                        Ok(Turn::Lead(free)) => {
                            seat = Some(free);
                            None
                        }
                        Ok(Turn::Follow(lease, group)) => return follow(inner, lease, group).await,
                        Err(_) => Some(SLOW),
                    },
                    () = reply.closed() => Some(StorageError::Abandoned),
                    () = sleep_until(limit) => Some(SLOW),
                };
                if let Some(error) = left {
                    turn.close();
                    // It may have been its turn just now; then the next one goes on.
                    if let Ok(Turn::Follow(lease, group)) = turn.try_recv() {
                        group.settle(inner, lease).await;
                    }
                    return Err(error);
                }
            }
        }
    }
    // While it waits its turn nothing has begun, so a caller that leaves takes its place in the queue with it.
    let mut lease = tokio::select! {
        biased;
        lease = timeout_at(limit, inner.engine.acquire(way.mode)) => lease.map_err(|_| SLOW)??,
        () = reply.closed() => return Err(StorageError::Abandoned),
    };
    E::begin(&mut lease, way.mode).await?;
    Ok((lease, Group::new(way.mode, seat)))
}

async fn follow<E: Engine>(
    inner: &Inner<E>,
    mut lease: E::Lease,
    group: Group<E>,
) -> Result<(E::Lease, Group<E>), StorageError> {
    let opened = match timeout(inner.settings.commit_limit, E::savepoint(&mut lease)).await {
        Ok(opened) => opened,
        Err(_) => Err(StorageError::Busy("a savepoint took too long")),
    };
    match opened {
        Ok(()) => Ok((lease, group)),
        Err(error) => {
            group.give_up(inner, lease, &error).await;
            Err(error)
        }
    }
}
