//! Orders.

use cell_map::UserKey;
use shop_logic::{
    CouponCode, Lines, Money, PreviewError, PricedLine, Sku,
    campaign::{Discount, Quote},
};
use uuid::{NoContext, Timestamp, Uuid};

/// An order that was placed and paid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Unique for the user; begins with its time, so that newer ids are greater.
    pub id: String,
    /// Whose.
    pub user: UserKey,
    /// Lines at list prices.
    pub lines: Vec<PricedLine>,
    /// What campaigns took off, the coupon last.
    pub discounts: Vec<Discount>,
    /// The coupon that it used.
    pub coupon: Option<CouponCode>,
    /// What was paid: the sum of the lines less the discounts.
    pub total: Money,
    /// Its payment, also the ledger entry's id.
    pub payment_id: String,
    /// When it was placed, in milliseconds since the Unix epoch.
    pub create_time_ms: i64,
}

/// What an order's prices rest on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Basis {
    /// The prices and campaigns at the moment of placing.
    Present,
    /// The prices and discounts of a preview, or why its token is refused. Judged only where the order is really placed: a
    /// repeated request gets its first answer although the token has expired since.
    Previewed(Result<Quote, PreviewError>),
}

/// An order to be placed.
#[derive(Clone, Debug)]
pub struct Placing {
    /// Whose.
    pub user: UserKey,
    /// What.
    pub lines: Lines,
    /// With which coupon.
    pub coupon: Option<CouponCode>,
    /// At which prices.
    pub basis: Basis,
    /// Id of the order, from [`new_id`].
    pub order_id: String,
    /// Id of its payment, from [`new_id`].
    pub payment_id: String,
    /// Now, in milliseconds since the Unix epoch.
    pub now_ms: i64,
}

/// What this cell has left of a product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stock {
    /// Of which product.
    pub sku: Sku,
    /// How many it can still sell.
    pub available: i64,
}

/// A new id that sorts by its time: UUID version 7 (RFC 9562) of this moment in milliseconds since the Unix epoch.
#[must_use]
pub fn new_id(now_ms: i64) -> String {
    let now = u64::try_from(now_ms).unwrap_or(0);
    let nanos = u32::try_from(now % 1000 * 1_000_000).unwrap_or(0);
    Uuid::new_v7(Timestamp::from_unix(NoContext, now / 1000, nanos)).to_string()
}

#[cfg(test)]
mod tests {
    use super::new_id;
    use shop_logic::OpaqueId;

    #[test]
    fn newer_ids_are_greater_and_valid() {
        let (old, new) = (new_id(1_700_000_000_000), new_id(1_700_000_000_001));
        assert!(old < new, "{old} {new}");
        assert!(OpaqueId::new(&new).is_ok());
    }
}
