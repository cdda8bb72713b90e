//! What followers of the catalogue read in its messages.

use super::Product;
use shop_logic::{Currency, InvalidError, Money};

/// A product's price of one.
///
/// # Errors
/// If it is missing, not above 0, or in no currency.
pub fn unit_price(product: &Product) -> Result<Money, InvalidError> {
    let price = product.unit_price.as_ref().ok_or(InvalidError::Missing)?;
    let minor_units = InvalidError::range(price.minor_units, 1..=i64::MAX)?;
    Ok(Money::new(Currency::new(&price.currency_code)?, minor_units))
}
