//! Instants as numbers: a lease is checked on each call, so its arithmetic is that of integers.

use std::time::Duration;
use tokio::time::Instant;

/// An instant of this process, in nanoseconds since its [`Clock`] was made; it may lie before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub i64);

impl Moment {
    /// Before all others.
    pub const NEVER: Self = Self(i64::MIN);

    /// So much later; 292 years at most.
    pub fn later(self, by: Duration) -> Self {
        Self(self.0.saturating_add(nanos(by)))
    }

    /// So much earlier, but never [`Moment::NEVER`].
    pub fn earlier(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(by)).max(i64::MIN + 1))
    }

    /// Time since an earlier instant; zero if it is later.
    #[inline]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0).max(0).unsigned_abs())
    }

    /// Whole seconds, for rough orders.
    #[inline]
    pub fn seconds(self) -> u32 {
        u32::try_from(self.0 / 1_000_000_000).unwrap_or(0)
    }
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// Reads the clock that all [`Moment`]s of a mesh count from.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// Starts counting.
    pub fn new() -> Self {
        Self(Instant::now())
    }

    /// Now.
    #[inline]
    pub fn now(self) -> Moment {
        let since = self.0.elapsed();
        Moment(since.as_secs().cast_signed().wrapping_mul(1_000_000_000) + i64::from(since.subsec_nanos()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// No age is ever too small, whatever is added: what overflows is cut off on the safe side.
        #[test]
        fn ages_are_exact_or_cut_off(at in any::<i64>(), by in any::<u64>()) {
            let (moment, by) = (Moment(at), Duration::from_nanos(by));
            prop_assert!(moment.later(by) >= moment && moment.earlier(by) > Moment::NEVER);
            prop_assert!(moment.later(by).since(moment) <= by);
            prop_assert_eq!(moment.since(moment.later(by)), Duration::ZERO);
            if at.checked_sub(nanos(by)).is_some_and(|early| early > i64::MIN) {
                prop_assert_eq!(moment.since(moment.earlier(by)), Duration::from_nanos(nanos(by).unsigned_abs()));
            }
        }
    }

    #[test]
    fn nothing_is_fresh_that_never_was() {
        assert!(Moment(0).since(Moment::NEVER) > Duration::from_secs(u64::from(u32::MAX)));
        assert_eq!(Moment(-5).seconds(), 0);
        assert_eq!(Moment(2_999_999_999).seconds(), 2);
    }
}
