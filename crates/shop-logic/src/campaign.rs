//! Campaigns: what makes orders cheaper, and how several of them combine.
//!
//! **The rule**, the same in the service and in clients ([`quote`]):
//! 1. Each line gets the best discount of its product that is in force: the greatest share off the price of one, rounded
//!    down, for each unit.
//! 2. The order gets the best spend discount that is in force and whose threshold its list prices reach: the greatest
//!    amount.
//! 3. If a code was given, its coupon comes last, off what then remains, if its threshold too is reached by the list prices.
//!
//! Equally good ones are chosen by the smaller id. Thresholds look at list prices, not at what remains, so that one more
//! campaign never makes an order dearer. No discount takes the total below one minor unit: the last one is cut. A campaign
//! in another currency than the order's does not count.

mod index;
mod kind;
mod quote;

pub use index::Campaigns;
pub use kind::{BasisPoints, Benefit, Coupon, Kind, ProductDiscount, SpendDiscount};
pub use quote::{CouponRefusal, CouponUse, Discount, Quote, Redeeming, quote};

use crate::{CampaignId, InvalidError, Title};

/// A campaign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Campaign {
    /// What it does and when.
    pub terms: Terms,
    /// Its title.
    pub title: Title,
    /// Campaigns' version (sequence) at its last change; 0 before it is written.
    pub version: u64,
}

/// What of a campaign counts for prices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Its id.
    pub id: CampaignId,
    /// When it counts.
    pub window: Window,
    /// Whether it was halted: then it counts at no time.
    pub paused: bool,
    /// What it does; never changes.
    pub kind: Kind,
}

impl Terms {
    /// Whether it counts at this time, in milliseconds since the Unix epoch.
    #[must_use]
    pub const fn in_force(&self, now_ms: i64) -> bool {
        !self.paused && self.window.contains(now_ms)
    }
}

/// A span of time, in milliseconds since the Unix epoch. Never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    start_ms: i64,
    end_ms: i64,
}

impl Window {
    /// From `start_ms` until just before `end_ms`.
    ///
    /// # Errors
    /// If it would end before it begins or be empty.
    pub fn new(start_ms: i64, end_ms: i64) -> Result<Self, InvalidError> {
        if start_ms < end_ms {
            Ok(Self { start_ms, end_ms })
        } else {
            Err(InvalidError::Range { value: end_ms, min: start_ms.saturating_add(1), max: i64::MAX })
        }
    }

    /// When it begins.
    #[must_use]
    pub const fn start_ms(self) -> i64 {
        self.start_ms
    }

    /// When it is over.
    #[must_use]
    pub const fn end_ms(self) -> i64 {
        self.end_ms
    }

    /// Whether a time lies in it.
    #[must_use]
    pub const fn contains(self, now_ms: i64) -> bool {
        self.start_ms <= now_ms && now_ms < self.end_ms
    }
}

#[cfg(test)]
mod tests {
    use super::Window;

    #[test]
    fn a_window_is_never_empty_and_excludes_its_end() {
        for (start, end) in [(5, 5), (5, 4), (i64::MAX, i64::MAX), (i64::MAX, i64::MIN)] {
            assert!(Window::new(start, end).is_err(), "{start} to {end}");
        }
        let window = Window::new(5, 7).expect("valid");
        assert_eq!([4, 5, 6, 7].map(|now| window.contains(now)), [false, true, true, false]);
        assert!(Window::new(i64::MIN, i64::MAX).is_ok());
    }
}
