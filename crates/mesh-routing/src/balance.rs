//! Choosing among the instances of a target: power of two choices over a peak-sensitive EWMA of latency times calls in
//! flight (Finagle's peak EWMA), with ejection of instances that keep failing.
//!
//! Pure but for its atomics: time is the duration since any fixed point, chance a random number.

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// How fast an old latency is forgotten.
const DECAY: Duration = Duration::from_secs(10);
/// Latency assumed of an instance that has answered nothing yet, in microseconds.
const UNKNOWN_US: u64 = 1_000;
/// Failures in a row after which an instance is ejected.
const FAILURES: u32 = 5;
/// First ejection; it doubles up to [`LONGEST_EJECTION`].
const FIRST_EJECTION: Duration = Duration::from_secs(1);
/// Longest ejection.
const LONGEST_EJECTION: Duration = Duration::from_secs(30);

/// Load and health of one instance as one worker sees it.
#[derive(Debug, Default)]
pub struct Gauge {
    in_flight: AtomicU32,
    latency_us: AtomicU64,
    updated_us: AtomicU64,
    failures: AtomicU32,
    ejected_until_us: AtomicU64,
    ejections: AtomicU32,
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

impl Gauge {
    /// A call begins.
    pub fn begin(&self) {
        self.in_flight.fetch_add(1, Relaxed);
    }

    /// A call ends without a verdict on the instance (the caller gave up).
    pub fn end(&self) {
        self.in_flight.fetch_sub(1, Relaxed);
    }

    /// A call that was begun got its answer's head after `took`.
    pub fn answered(&self, took: Duration, now: Duration) {
        let (took, now) = (micros(took), micros(now));
        let (old, since) = (self.latency_us.load(Relaxed), now.saturating_sub(self.updated_us.load(Relaxed)));
        let new = if old == 0 || took >= old {
            took.max(1)
        } else {
            let keep = (-(since as f64) / micros(DECAY) as f64).exp();
            (old as f64 * keep + took as f64 * (1.0 - keep)) as u64
        };
        self.latency_us.store(new.max(1), Relaxed);
        self.updated_us.store(now, Relaxed);
        if self.failures.load(Relaxed) != 0 {
            self.failures.store(0, Relaxed);
            self.ejections.store(0, Relaxed);
            self.ejected_until_us.store(0, Relaxed);
        }
    }

    /// The instance broke a call, refused a connection or kept silent until the deadline.
    pub fn failed(&self, now: Duration) {
        if self.failures.fetch_add(1, Relaxed) + 1 >= FAILURES {
            let times = self.ejections.fetch_add(1, Relaxed).min(10);
            let length = FIRST_EJECTION.saturating_mul(1 << times).min(LONGEST_EJECTION);
            self.ejected_until_us.store(micros(now + length), Relaxed);
            self.failures.store(FAILURES - 1, Relaxed);
        }
    }

    /// Whether it is left out for now.
    pub fn ejected(&self, now: Duration) -> bool {
        self.ejected_until_us.load(Relaxed) > micros(now)
    }

    /// Calls in flight.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    fn cost(&self) -> u64 {
        let latency = match self.latency_us.load(Relaxed) {
            0 => UNKNOWN_US,
            known => known,
        };
        latency.saturating_mul(u64::from(self.in_flight()) + 1)
    }
}

/// Picks one of `count` instances, whose gauge and usability are given by `at`; none if none is usable. Ejected ones are
/// picked only when no other is usable.
pub fn pick<'a>(count: usize, chance: u64, now: Duration, at: impl Fn(usize) -> (&'a Gauge, bool)) -> Option<usize> {
    let good = |n: usize| {
        let (gauge, usable) = at(n);
        usable && !gauge.ejected(now)
    };
    match count {
        0 => return None,
        1 => return at(0).1.then_some(0),
        _ => {}
    }
    let first = chance as u32 as usize % count;
    let second = (first + 1 + (chance >> 32) as usize % (count - 1)) % count;
    match (good(first), good(second)) {
        (true, true) => Some(if at(second).0.cost() < at(first).0.cost() { second } else { first }),
        (true, false) => Some(first),
        (false, true) => Some(second),
        (false, false) => {
            let from = |wanted: &dyn Fn(usize) -> bool| (0..count).map(|n| (first + n) % count).find(|n| wanted(*n));
            from(&good).or_else(|| from(&|n| at(n).1))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn spread(gauges: &[Gauge], usable: impl Fn(usize) -> bool, now: Duration) -> Vec<u32> {
        let (mut picks, mut chance) = (vec![0; gauges.len()], 0x9E37_79B9_7F4A_7C15u64);
        for _ in 0..3_000 {
            chance ^= chance << 13;
            chance ^= chance >> 7;
            chance ^= chance << 17;
            if let Some(n) = pick(gauges.len(), chance, now, |n| (&gauges[n], usable(n))) {
                picks[n] += 1;
            }
        }
        picks
    }

    #[test]
    fn equal_instances_share_and_a_slow_one_gets_less() {
        let gauges: Vec<Gauge> = (0..3).map(|_| Gauge::default()).collect();
        gauges.iter().for_each(|g| g.answered(MS, MS));
        assert!(spread(&gauges, |_| true, MS).iter().all(|n| *n > 300));
        gauges[1].answered(50 * MS, 2 * MS);
        assert_eq!(spread(&gauges, |_| true, 2 * MS)[1], 0, "two choices never prefer the slowest of three");
    }

    #[test]
    fn a_failing_instance_is_ejected_for_growing_times_and_comes_back() {
        let gauges: Vec<Gauge> = (0..2).map(|_| Gauge::default()).collect();
        (0..FAILURES).for_each(|_| gauges[0].failed(MS));
        assert_eq!(spread(&gauges, |_| true, MS)[0], 0);
        let back = MS + FIRST_EJECTION;
        assert!(spread(&gauges, |_| true, back)[0] > 0);
        gauges[0].failed(back);
        assert!(gauges[0].ejected(back + FIRST_EJECTION), "the second ejection is longer");
        gauges[0].answered(MS, back);
        assert!(!gauges[0].ejected(back));
    }

    #[test]
    fn an_ejected_instance_is_better_than_none_and_an_unusable_one_is_not() {
        let gauges: Vec<Gauge> = (0..3).map(|_| Gauge::default()).collect();
        (0..FAILURES).for_each(|_| gauges[2].failed(MS));
        assert_eq!(spread(&gauges, |n| n == 2, MS), [0, 0, 3_000]);
        assert_eq!(spread(&gauges, |_| false, MS), [0, 0, 0]);
        assert_eq!(pick(0, 1, MS, |n| (&gauges[n], true)), None);
    }

    #[test]
    fn an_old_peak_is_forgotten() {
        let gauge = Gauge::default();
        gauge.answered(1_000 * MS, MS);
        gauge.answered(MS, Duration::from_secs(60));
        assert!(gauge.cost() < 10_000, "cost {}", gauge.cost());
    }
}
