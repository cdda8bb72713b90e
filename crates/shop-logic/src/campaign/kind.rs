//! What campaigns do.

use crate::{CouponCode, InvalidError, Money, Sku};
use std::collections::HashSet;

/// What a campaign does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Makes products cheaper.
    Product(ProductDiscount),
    /// Makes large orders cheaper.
    Spend(SpendDiscount),
    /// Makes an order cheaper for those who know its code.
    Coupon(Coupon),
}

/// A share in hundredths of a percent: more than nothing, less than everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BasisPoints(u16);

impl BasisPoints {
    /// So many.
    ///
    /// # Errors
    /// If not 1 to 9,999.
    pub fn new(value: i32) -> Result<Self, InvalidError> {
        match u16::try_from(value) {
            Ok(points @ 1..=9_999) => Ok(Self(points)),
            _ => Err(InvalidError::Range { value: value.into(), min: 1, max: 9_999 }),
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }

    /// The share of an amount, rounded down; nothing of what is not positive. Always less than the amount.
    #[must_use]
    pub fn of(self, amount: Money) -> Money {
        // By whole ten thousands and their rest, so that no product overflows.
        let (units, points) = (amount.minor_units().max(0), i64::from(self.0));
        Money::new(amount.currency(), units / 10_000 * points + units % 10_000 * points / 10_000)
    }
}

/// Products are cheaper by a share of their price.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProductDiscount {
    skus: Vec<Sku>,
    off: BasisPoints,
}

impl ProductDiscount {
    /// Most products of one.
    pub const MAX_SKUS: usize = 100;

    /// These products, each once, by this share.
    ///
    /// # Errors
    /// If there are none or too many, or one stands twice.
    pub fn new(skus: Vec<Sku>, off: BasisPoints) -> Result<Self, InvalidError> {
        InvalidError::count(skus.len(), Self::MAX_SKUS)?;
        let mut seen = HashSet::with_capacity(skus.len());
        match skus.iter().find(|sku| !seen.insert(*sku)) {
            Some(sku) => Err(InvalidError::Repeated(sku.to_string())),
            None => Ok(Self { skus, off }),
        }
    }

    /// Which products.
    #[must_use]
    pub fn skus(&self) -> &[Sku] {
        &self.skus
    }

    /// By how much.
    #[must_use]
    pub const fn off(&self) -> BasisPoints {
        self.off
    }
}

/// Orders from a sum on are cheaper by an amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpendDiscount {
    threshold: Money,
    amount_off: Money,
}

impl SpendDiscount {
    /// From this sum of list prices on, by this amount.
    ///
    /// # Errors
    /// Of the amount: if it is not in the threshold's currency, or not between nothing and the threshold.
    pub fn new(threshold: Money, amount_off: Money) -> Result<Self, InvalidError> {
        below(threshold, amount_off)?;
        Ok(Self { threshold, amount_off })
    }

    /// Sum of list prices from which it counts.
    #[must_use]
    pub const fn threshold(self) -> Money {
        self.threshold
    }

    /// By how much.
    #[must_use]
    pub const fn amount_off(self) -> Money {
        self.amount_off
    }
}

/// An order is cheaper for those who know the code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coupon {
    code: CouponCode,
    per_user_limit: u32,
    threshold: Money,
    benefit: Benefit,
}

/// By how much a coupon makes an order cheaper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Benefit {
    /// By an amount.
    Amount(Money),
    /// By a share of what remains.
    Share(BasisPoints),
}

impl Coupon {
    /// Most orders of one user that a coupon serves.
    pub const MAX_PER_USER: i32 = 100;

    /// With this code, for so many orders of each user, from this sum of list prices on.
    ///
    /// # Errors
    /// Of the benefit: if an amount is not in the threshold's currency, or not between nothing and the threshold.
    pub fn new(
        code: CouponCode,
        per_user_limit: u32,
        threshold: Money,
        benefit: Benefit,
    ) -> Result<Self, InvalidError> {
        if let Benefit::Amount(amount) = benefit {
            below(threshold, amount)?;
        }
        Ok(Self { code, per_user_limit, threshold, benefit })
    }

    /// A number of orders of one user.
    ///
    /// # Errors
    /// If not 1 to [`Self::MAX_PER_USER`].
    pub fn per_user(limit: i32) -> Result<u32, InvalidError> {
        InvalidError::range(limit.into(), 1..=Self::MAX_PER_USER.into())?;
        Ok(limit.unsigned_abs())
    }

    /// What its users type.
    #[must_use]
    pub const fn code(&self) -> &CouponCode {
        &self.code
    }

    /// How many orders of one user it serves.
    #[must_use]
    pub const fn per_user_limit(&self) -> u32 {
        self.per_user_limit
    }

    /// Sum of list prices from which it counts.
    #[must_use]
    pub const fn threshold(&self) -> Money {
        self.threshold
    }

    /// By how much.
    #[must_use]
    pub const fn benefit(&self) -> Benefit {
        self.benefit
    }
}

fn below(threshold: Money, amount: Money) -> Result<(), InvalidError> {
    let (found, allowed) = (amount.currency(), threshold.currency());
    if found != allowed {
        return Err(InvalidError::OtherCurrency { found: found.code(), allowed: allowed.code() });
    }
    InvalidError::range(amount.minor_units(), 1..=threshold.minor_units().saturating_sub(1)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Currency;
    use proptest::prelude::*;

    fn fen(minor_units: i64) -> Money {
        Money::new(Currency::CNY, minor_units)
    }

    proptest! {
        #[test]
        fn a_share_is_exact_and_never_everything(amount: i64, points in 1i32..=9_999) {
            let share = BasisPoints::new(points).expect("in range").of(fen(amount)).minor_units();
            if amount > 0 {
                prop_assert!((0..amount).contains(&share));
                let exact = i128::from(amount) * i128::from(points);
                let rest = exact - i128::from(share) * 10_000;
                prop_assert!((0..10_000).contains(&rest), "rounded down");
            } else {
                prop_assert_eq!(share, 0);
            }
        }
    }

    #[test]
    fn kinds_that_make_no_sense_are_refused() {
        assert!([0, -1, 10_000, i32::MIN, i32::MAX].iter().all(|&points| BasisPoints::new(points).is_err()));
        assert!([0, -1, 101, i32::MIN, i32::MAX].iter().all(|&limit| Coupon::per_user(limit).is_err()));
        let off = BasisPoints::new(1).expect("in range");
        let tea = Sku::new("tea").expect("valid");
        assert_eq!(ProductDiscount::new(vec![], off), Err(InvalidError::Missing));
        assert_eq!(ProductDiscount::new(vec![tea.clone(), tea], off), Err(InvalidError::Repeated("tea".into())));
        for (threshold, amount) in [(100, 100), (100, 0), (100, -1), (1, 1), (0, 1), (i64::MIN, i64::MIN)] {
            assert!(SpendDiscount::new(fen(threshold), fen(amount)).is_err(), "{amount} off from {threshold} on");
        }
        let dollar = Money::new(Currency::new("USD").expect("listed"), 1);
        assert!(matches!(SpendDiscount::new(fen(100), dollar), Err(InvalidError::OtherCurrency { .. })));
    }
}
