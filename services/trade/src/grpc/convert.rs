//! From trade's types to messages.

use crate::domain::{Order, Stock};
use cell_map::UserKey;
use shop_proto::trade_v1 as pb;

/// A user key as it stands in messages: shop's user ids are strings.
pub(crate) fn user_id(user: &UserKey) -> String {
    String::from_utf8_lossy(user.as_bytes()).into_owned()
}

impl From<&Order> for pb::Order {
    fn from(order: &Order) -> Self {
        Self {
            order_id: order.id.clone(),
            user_id: user_id(&order.user),
            state: pb::OrderState::Paid.into(),
            lines: order.lines.iter().map(Into::into).collect(),
            total: Some(order.total.into()),
            payment_id: order.payment_id.clone(),
            create_time_ms: order.create_time_ms,
            discounts: order.discounts.iter().map(Into::into).collect(),
            coupon_code: order.coupon.as_ref().map(ToString::to_string).unwrap_or_default(),
        }
    }
}

impl From<&Stock> for pb::StockLevel {
    fn from(stock: &Stock) -> Self {
        Self { sku: stock.sku.to_string(), available: stock.available }
    }
}
