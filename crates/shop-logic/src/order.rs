//! Lines of an order and their prices.

use crate::{InvalidError, Money, MoneyError, Sku};
use std::collections::HashSet;

/// How many of a product: 1 to 1,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Quantity(u16);

impl Quantity {
    /// Most of one product in an order.
    pub const MAX: u16 = 1000;

    /// So many.
    ///
    /// # Errors
    /// If not 1 to [`Self::MAX`].
    pub fn new(value: i32) -> Result<Self, InvalidError> {
        match u16::try_from(value) {
            Ok(n @ 1..=Self::MAX) => Ok(Self(n)),
            _ => Err(InvalidError::Range { value: value.into(), min: 1, max: Self::MAX.into() }),
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }
}

/// What is ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Which product.
    pub sku: Sku,
    /// How many.
    pub quantity: Quantity,
}

/// The lines of one order: 1 to 50, each product once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lines(Vec<Line>);

impl Lines {
    /// Most lines of an order.
    pub const MAX: usize = 50;

    /// Checked lines, in the given order.
    ///
    /// # Errors
    /// If there are none or too many, or a product stands twice.
    pub fn new(lines: Vec<Line>) -> Result<Self, InvalidError> {
        InvalidError::count(lines.len(), Self::MAX)?;
        let mut seen = HashSet::with_capacity(lines.len());
        match lines.iter().find(|line| !seen.insert(&line.sku)) {
            Some(line) => Err(InvalidError::Repeated(line.sku.to_string())),
            None => Ok(Self(lines)),
        }
    }

    /// The lines.
    #[must_use]
    pub fn as_slice(&self) -> &[Line] {
        &self.0
    }

    /// At which place a product stands; after all others if it does not.
    pub(crate) fn place(&self, sku: &Sku) -> usize {
        self.0.iter().position(|line| line.sku == *sku).unwrap_or(usize::MAX)
    }

    /// Indices of the lines by ascending SKU: the order in which rows are locked and tokens are made, whatever sequence
    /// the caller wrote them in.
    #[must_use]
    pub fn by_sku(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.0.len()).collect();
        order.sort_unstable_by(|&a, &b| self.0[a].sku.cmp(&self.0[b].sku));
        order
    }
}

/// A line with its price.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PricedLine {
    /// Which product.
    pub sku: Sku,
    /// How many.
    pub quantity: Quantity,
    /// Price of one.
    pub unit_price: Money,
    /// Price of the line.
    pub total: Money,
}

/// Priced lines, all in one currency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PricedOrder {
    lines: Vec<PricedLine>,
    total: Money,
}

impl PricedOrder {
    /// The lines, in the order's sequence.
    #[must_use]
    pub fn lines(&self) -> &[PricedLine] {
        &self.lines
    }

    /// Their sum.
    #[must_use]
    pub const fn total(&self) -> Money {
        self.total
    }
}

/// Why lines have no price.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PriceError {
    /// Nobody sells it.
    #[error("product \"{0}\" is not in the catalogue")]
    UnknownSku(Sku),
    /// The amounts do not combine.
    #[error("price of \"{sku}\": {source}")]
    Money {
        /// At which product.
        sku: Sku,
        /// Why.
        source: MoneyError,
    },
}

/// Prices lines: each unit price comes from `unit_price`, sums are exact or refused.
///
/// # Errors
/// If a product is unknown, currencies differ or an amount does not fit.
pub fn price(lines: &Lines, mut unit_price: impl FnMut(&Sku) -> Option<Money>) -> Result<PricedOrder, PriceError> {
    let mut priced = Vec::with_capacity(lines.as_slice().len());
    let mut total: Option<Money> = None;
    for Line { sku, quantity } in lines.as_slice() {
        let unit_price = unit_price(sku).ok_or_else(|| PriceError::UnknownSku(sku.clone()))?;
        let in_sku = |source| PriceError::Money { sku: sku.clone(), source };
        let line_total = unit_price.times(*quantity).map_err(in_sku)?;
        total = Some(match total {
            None => line_total,
            Some(sum) => sum.checked_add(line_total).map_err(in_sku)?,
        });
        priced.push(PricedLine { sku: sku.clone(), quantity: *quantity, unit_price, total: line_total });
    }
    let total = total.expect("lines are never empty");
    Ok(PricedOrder { lines: priced, total })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Currency;
    use proptest::prelude::*;

    fn line(sku: &str, quantity: i32) -> Line {
        Line { sku: Sku::new(sku).expect("valid"), quantity: Quantity::new(quantity).expect("valid") }
    }

    proptest! {
        #[test]
        fn total_is_the_exact_sum_or_refused(prices in prop::collection::vec((1i64..=i64::MAX, 1i32..=1000), 1..=50)) {
            let lines = prices.iter().enumerate().map(|(n, (_, quantity))| line(&format!("p{n}"), *quantity)).collect();
            let lines = Lines::new(lines).expect("distinct");
            let mut units = prices.iter().map(|(unit, _)| Money::new(Currency::CNY, *unit));
            let exact: i128 = prices.iter().map(|(unit, n)| i128::from(*unit) * i128::from(*n)).sum();
            match price(&lines, |_| units.next()) {
                Ok(priced) => {
                    prop_assert_eq!(i128::from(priced.total().minor_units()), exact);
                    let sum: i128 = priced.lines().iter().map(|line| i128::from(line.total.minor_units())).sum();
                    prop_assert_eq!(sum, exact);
                }
                Err(error) => {
                    let overflow = matches!(error, PriceError::Money { source: MoneyError::Overflow, .. });
                    prop_assert!(overflow && exact > i128::from(i64::MAX), "{}", error);
                }
            }
        }
    }

    #[test]
    fn bad_lines_are_refused() {
        assert_eq!(Lines::new(vec![]), Err(InvalidError::Missing));
        assert_eq!(Lines::new(vec![line("a", 1), line("a", 2)]), Err(InvalidError::Repeated("a".into())));
        let many = (0..51).map(|n| line(&format!("p{n}"), 1)).collect();
        assert!(matches!(Lines::new(many), Err(InvalidError::TooLong { len: 51, .. })));
        for bad in [0, -1, 1001, i32::MIN, i32::MAX] {
            assert!(Quantity::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn mixed_currencies_and_unknown_products_have_no_price() {
        let lines = Lines::new(vec![line("a", 1), line("b", 1)]).expect("valid");
        let dollars = Currency::new("USD").expect("listed");
        let mixed = price(&lines, |sku| Some(Money::new(if sku.as_str() == "a" { Currency::CNY } else { dollars }, 1)));
        assert!(matches!(mixed, Err(PriceError::Money { source: MoneyError::CurrencyMismatch(..), .. })));
        assert!(matches!(price(&lines, |_| None), Err(PriceError::UnknownSku(_))));
    }
}
