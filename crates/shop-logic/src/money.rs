//! Amounts of money.

use crate::{Currency, Quantity};
use std::fmt;

/// An amount in minor units (fen, cents) of one currency. Arithmetic is checked: it never wraps and never mixes currencies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Money {
    currency: Currency,
    minor_units: i64,
}

/// Why amounts cannot be combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// The result does not fit in 64 bits.
    #[error("amount does not fit in 64 bits of minor units")]
    Overflow,
    /// Two currencies in one sum.
    #[error("currencies {0} and {1} cannot be added")]
    CurrencyMismatch(Currency, Currency),
}

impl Money {
    /// This many minor units of a currency; may be negative, as a posting is.
    #[must_use]
    pub const fn new(currency: Currency, minor_units: i64) -> Self {
        Self { currency, minor_units }
    }

    /// Nothing of a currency.
    #[must_use]
    pub const fn zero(currency: Currency) -> Self {
        Self::new(currency, 0)
    }

    /// Its currency.
    #[must_use]
    pub const fn currency(self) -> Currency {
        self.currency
    }

    /// Its amount in minor units.
    #[must_use]
    pub const fn minor_units(self) -> i64 {
        self.minor_units
    }

    /// The sum.
    ///
    /// # Errors
    /// If the currencies differ or the sum does not fit.
    pub fn checked_add(self, other: Self) -> Result<Self, MoneyError> {
        if self.currency != other.currency {
            return Err(MoneyError::CurrencyMismatch(self.currency, other.currency));
        }
        let sum = self.minor_units.checked_add(other.minor_units).ok_or(MoneyError::Overflow)?;
        Ok(Self::new(self.currency, sum))
    }

    /// What is left of it without `other`; may be negative.
    ///
    /// # Errors
    /// If the currencies differ or the difference does not fit.
    pub fn checked_sub(self, other: Self) -> Result<Self, MoneyError> {
        self.checked_add(other.negated()?)
    }

    /// The price of so many.
    ///
    /// # Errors
    /// If the product does not fit.
    pub fn times(self, quantity: Quantity) -> Result<Self, MoneyError> {
        let product = self.minor_units.checked_mul(i64::from(quantity.get())).ok_or(MoneyError::Overflow)?;
        Ok(Self::new(self.currency, product))
    }

    /// The same amount with the other sign.
    ///
    /// # Errors
    /// For the smallest number, whose opposite does not fit.
    pub fn negated(self) -> Result<Self, MoneyError> {
        let minor_units = self.minor_units.checked_neg().ok_or(MoneyError::Overflow)?;
        Ok(Self::new(self.currency, minor_units))
    }
}

impl fmt::Display for Money {
    /// Minor units, so that no reader has to know the currency's decimals.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} minor units of {}", self.minor_units, self.currency)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn yuan(minor_units: i64) -> Money {
        Money::new(Currency::CNY, minor_units)
    }

    proptest! {
        #[test]
        fn sums_and_products_are_exact_or_refused(a: i64, b: i64, n in 1i32..=1000) {
            let sum = yuan(a).checked_add(yuan(b)).map(Money::minor_units);
            prop_assert_eq!(sum.ok().map(i128::from), i64::try_from(i128::from(a) + i128::from(b)).ok().map(i128::from));
            let quantity = Quantity::new(n).expect("in range");
            let product = yuan(a).times(quantity).map(Money::minor_units);
            prop_assert_eq!(product.ok(), i64::try_from(i128::from(a) * i128::from(n)).ok());
        }
    }

    #[test]
    fn currencies_never_mix() {
        let dollars = Money::new(Currency::new("USD").expect("listed"), 1);
        assert!(matches!(yuan(1).checked_add(dollars), Err(MoneyError::CurrencyMismatch(..))));
    }

    #[test]
    fn the_smallest_amount_has_no_opposite() {
        assert_eq!(yuan(i64::MIN).negated(), Err(MoneyError::Overflow));
        assert_eq!(yuan(5).negated(), Ok(yuan(-5)));
    }
}
