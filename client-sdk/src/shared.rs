//! One future with many waiters and no task of its own.
//!
//! Whoever waits drives it, so that a waiter who goes away harms no other, and when all are gone it is dropped: what it
//! does is cancelled. Other than `futures::future::Shared` it polls its future only after that was woken, however many
//! waiters look after it: thousands of callers of one call cost it one poll, and a future inside may yield.

use futures_util::future::BoxFuture;
use std::{
    future::Future,
    mem,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

/// One waiter. Its output is `None` if the future panicked in another waiter's hands.
pub(crate) struct Shared<T> {
    core: Arc<Core<T>>,
    seat: Option<usize>,
}

/// A way to wait too, as long as somebody waits.
pub(crate) struct WeakShared<T>(Arc<Core<T>>);

struct Core<T> {
    /// Whether the future wants to be polled.
    woken: AtomicBool,
    /// Gone when it has ended or nobody waits any more.
    future: Mutex<Option<BoxFuture<'static, T>>>,
    state: Mutex<State<T>>,
}

struct State<T> {
    waiters: usize,
    wakers: Wakers,
    output: Output<T>,
}

/// The waiters' wakers, by their seats. Most calls have one waiter, who needs no room of his own.
#[derive(Default)]
struct Wakers {
    first: Option<Waker>,
    more: Vec<Option<Waker>>,
    seats: usize,
}

impl Wakers {
    /// A new seat.
    fn take_seat(&mut self, waker: Waker) -> usize {
        match self.seats {
            0 => self.first = Some(waker),
            _ => self.more.push(Some(waker)),
        }
        self.seats += 1;
        self.seats - 1
    }

    /// The waker at a seat that was taken.
    fn at(&mut self, seat: usize) -> Option<&mut Option<Waker>> {
        match seat {
            0 => Some(&mut self.first),
            _ => self.more.get_mut(seat - 1),
        }
    }

    fn take_all(&mut self) -> (Option<Waker>, Vec<Waker>) {
        let first = self.first.take();
        (first, self.more.iter_mut().filter_map(Option::take).collect())
    }
}

enum Output<T> {
    Pending,
    Ready(T),
    Broken,
}

impl<T: Clone + Send + 'static> Shared<T> {
    /// The first waiter of a future.
    pub fn new(future: BoxFuture<'static, T>) -> Self {
        let state = State { waiters: 1, wakers: Wakers::default(), output: Output::Pending };
        let (woken, future, state) = (AtomicBool::new(true), Mutex::new(Some(future)), Mutex::new(state));
        Self { core: Arc::new(Core { woken, future, state }), seat: None }
    }
}

impl<T> Shared<T> {
    pub fn downgrade(&self) -> WeakShared<T> {
        WeakShared(Arc::clone(&self.core))
    }
}

impl<T> WeakShared<T> {
    /// A waiter more; none if nobody waits or it has ended.
    pub fn upgrade(&self) -> Option<Shared<T>> {
        let mut state = self.0.state();
        if state.waiters == 0 || !matches!(state.output, Output::Pending) {
            return None;
        }
        state.waiters += 1;
        Some(Shared { core: Arc::clone(&self.0), seat: None })
    }
}

impl<T: Clone + Send + 'static> Future for Shared<T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let Self { core, seat } = &mut *self;
        // The waker first: a wake that comes after the flag was read finds it.
        if let Some(output) = core.state().output_or_wait(seat, cx.waker()) {
            return Poll::Ready(output);
        }
        if core.woken.load(Ordering::Acquire) && core.drive(*seat) {
            return core.state().output_or_wait(seat, cx.waker()).map_or(Poll::Pending, Poll::Ready);
        }
        Poll::Pending
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        let mut state = self.core.state();
        state.waiters -= 1;
        let waker = self.seat.and_then(|seat| state.wakers.at(seat)?.take());
        let last = state.waiters == 0;
        drop(state);
        drop(waker);
        if last {
            // It holds wakers of this very core: they would keep each other.
            let future = self.core.future().take();
            drop(future);
        }
    }
}

impl<T: Clone + Send + 'static> Core<T> {
    /// Polls the future if it was woken and no other waiter did so meanwhile. Whether it has ended; then all waiters but
    /// the one at `seat` are woken.
    fn drive(self: &Arc<Self>, seat: Option<usize>) -> bool {
        let mut slot = self.future();
        if !self.woken.swap(false, Ordering::AcqRel) {
            return false;
        }
        let Some(future) = slot.as_mut() else { return true };
        let waker = Waker::from(Arc::clone(self));
        let broken = Broken(self);
        let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
        mem::forget(broken);
        match polled {
            Poll::Pending => false,
            Poll::Ready(output) => {
                let ended = slot.take();
                drop(slot);
                drop(ended);
                let own = seat.and_then(|seat| self.state().wakers.at(seat)?.take());
                drop(own);
                self.end(Output::Ready(output));
                true
            }
        }
    }
}

impl<T> Core<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn future(&self) -> MutexGuard<'_, Option<BoxFuture<'static, T>>> {
        self.future.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, output: Output<T>) {
        self.state().output = output;
        self.wake_all();
    }

    fn wake_all(&self) {
        // Not under the lock: a waker may drop its task, and with it a waiter.
        let (first, more) = self.state().wakers.take_all();
        first.into_iter().chain(more).for_each(Waker::wake);
    }
}

impl<T: Send + 'static> Wake for Core<T> {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // If it was set before, all who waited then are awake, and who came since has seen it.
        if !self.woken.swap(true, Ordering::AcqRel) {
            self.wake_all();
        }
    }
}

impl<T: Clone> State<T> {
    /// The output; if there is none yet, the waker is kept.
    fn output_or_wait(&mut self, seat: &mut Option<usize>, waker: &Waker) -> Option<Option<T>> {
        match mem::replace(&mut self.output, Output::Broken) {
            Output::Broken => return Some(None),
            // Nobody joins what has ended: the last waiter may take the output along.
            Output::Ready(output) if self.waiters == 1 => return Some(Some(output)),
            Output::Ready(output) => {
                let copy = output.clone();
                self.output = Output::Ready(output);
                return Some(Some(copy));
            }
            Output::Pending => self.output = Output::Pending,
        }
        match *seat {
            None => *seat = Some(self.wakers.take_seat(waker.clone())),
            Some(seat) => match self.wakers.at(seat) {
                Some(Some(kept)) if kept.will_wake(waker) => {}
                Some(kept) => *kept = Some(waker.clone()),
                None => {}
            },
        }
        None
    }
}

/// Dropped only by a panic of the future: nobody shall wait for it for ever.
struct Broken<'a, T>(&'a Core<T>);

impl<T> Drop for Broken<'_, T> {
    fn drop(&mut self) {
        self.0.end(Output::Broken);
    }
}

#[cfg(test)]
mod tests;
