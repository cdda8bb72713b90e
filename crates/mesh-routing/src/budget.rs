//! How many calls may be sent again.
//!
//! Two buckets of tokens, each sending again takes one from both and is allowed while either has one: what calls earn by
//! being answered, and a floor that time earns. So sendings again are at most the larger of a share of the calls answered and
//! the floor, not their sum; in a full outage nothing is answered and only the floor is left (gRFC A6 has no floor, Finagle
//! adds both).
//!
//! Pure but for its atomics: time is the duration since any fixed point.

use std::{
    sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// A token, in the units that are counted.
const TOKEN: i64 = 1_000;

/// How many calls may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// In percent of the calls answered.
    pub percent: u32,
    /// At least so many a second.
    pub floor_per_second: u32,
    /// Most that are saved up from quiet times.
    pub burst: u32,
}

impl Default for Limits {
    /// 10 percent, 10 a second, 50 saved up.
    fn default() -> Self {
        Self { percent: 10, floor_per_second: 10, burst: 50 }
    }
}

/// A budget of sending again. Begins with what may be saved up.
#[derive(Debug)]
pub struct Budget {
    limits: Limits,
    earned: AtomicI64,
    /// When the floor's bucket is empty were nothing taken from now on less than a token ago (GCRA), in microseconds.
    floor: AtomicU64,
}

impl Budget {
    /// A budget within these limits.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, earned: AtomicI64::new(i64::from(limits.burst) * TOKEN), floor: AtomicU64::new(0) }
    }

    /// A call was answered.
    pub fn earn(&self) {
        // Full at most times: then nothing is written.
        if self.earned.load(Relaxed) < i64::from(self.limits.burst) * TOKEN {
            self.earned.fetch_add(i64::from(self.limits.percent) * TOKEN / 100, Relaxed);
        }
    }

    /// Whether a call may be sent again now; takes a token if so.
    pub fn take(&self, now: Duration) -> bool {
        let earned = self.take_earned();
        self.take_floor(now) || earned
    }

    fn take_earned(&self) -> bool {
        let take = |have: i64| (have >= TOKEN).then_some(have - TOKEN);
        self.earned.fetch_update(Relaxed, Relaxed, take).is_ok()
    }

    fn take_floor(&self, now: Duration) -> bool {
        let Some(each) = 1_000_000u64.checked_div(self.limits.floor_per_second.into()) else { return false };
        let now = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
        // A second's worth may be saved up.
        let take = |until: u64| {
            let until = until.max(now);
            (until + each <= now + 1_000_000).then_some(until + each)
        };
        self.floor.fetch_update(Relaxed, Relaxed, take).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn takes(budget: &Budget, tries: u32, now: Duration) -> u32 {
        (0..tries).map(|_| u32::from(budget.take(now))).sum()
    }

    #[test]
    fn in_an_outage_the_floor_alone_is_left() {
        let budget = Budget::new(Limits::default());
        let mut sent_again = 0;
        for millisecond in 0..10_000 {
            sent_again += takes(&budget, 1, Duration::from_millis(millisecond));
        }
        assert!((100..=160).contains(&sent_again), "sent again {sent_again} of 10000 calls in 10 s");
    }

    #[test]
    fn a_tenth_of_the_calls_answered_may_be_sent_again() {
        let budget = Budget::new(Limits { floor_per_second: 0, ..Limits::default() });
        assert_eq!(takes(&budget, 1_000, SECOND), 50, "what was saved up");
        let mut sent_again = 0;
        for _ in 0..10_000 {
            budget.earn();
            sent_again += takes(&budget, 1, SECOND);
        }
        assert_eq!(sent_again, 1_000);
    }

    #[test]
    fn share_and_floor_do_not_add_up() {
        let budget = Budget::new(Limits { burst: 1, ..Limits::default() });
        let mut sent_again = 0;
        for n in 0..10_000 {
            budget.earn();
            sent_again += takes(&budget, 1, Duration::from_millis(n));
        }
        assert!((1_000..=1_020).contains(&sent_again), "1000 a second make 100 a second, not 110: {sent_again}");
    }

    #[test]
    fn a_floor_of_none_and_no_share_allow_nothing() {
        let budget = Budget::new(Limits { percent: 0, floor_per_second: 0, burst: 0 });
        budget.earn();
        assert_eq!(takes(&budget, 100, SECOND), 0);
    }
}
