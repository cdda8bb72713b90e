//! The time of day, from a reading of the monotonic clock that was made anyway.

use crate::feed::Moment;
use std::{
    sync::atomic::{
        AtomicI64,
        Ordering::{Acquire, Relaxed, Release},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// For how long the two clocks are taken to run alike: a clock that was set is noticed so much later.
const ALIKE: Duration = Duration::from_secs(1);
const NANOS: i64 = 1_000_000;

/// The time of day. Reading both clocks for each call would cost as much as all the rest of a local answer.
#[derive(Debug)]
pub(super) struct Wall {
    /// Milliseconds since 1970 at the [`Moment`] 0.
    offset_ms: AtomicI64,
    /// When that was read.
    read: AtomicI64,
}

impl Wall {
    pub fn new() -> Self {
        Self { offset_ms: AtomicI64::new(0), read: AtomicI64::new(Moment::NEVER.0) }
    }

    /// Milliseconds since 1970 at this moment, which is now.
    #[inline]
    pub fn ms(&self, now: Moment) -> i64 {
        if now.since(Moment(self.read.load(Acquire))) >= ALIKE {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
            self.offset_ms.store(i64::try_from(since).unwrap_or(i64::MAX).saturating_sub(now.0 / NANOS), Relaxed);
            // After the offset: who sees that it was read lately sees what was read.
            self.read.store(now.0, Release);
        }
        self.offset_ms.load(Relaxed).saturating_add(now.0 / NANOS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_time_of_day() {
        let wall = Wall::new();
        let true_ms = || i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap();
        let before = true_ms();
        let first = wall.ms(Moment(5 * NANOS));
        assert!((before - 1..=true_ms() + 1).contains(&first));
        assert_eq!(wall.ms(Moment(905 * NANOS)), first + 900);
        // Half a minute later by our clock, it is read again.
        let again = wall.ms(Moment(30_000 * NANOS));
        assert!((before - 1..=true_ms() + 1).contains(&again));
    }
}
