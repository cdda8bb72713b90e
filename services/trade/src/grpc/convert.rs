//! From trade's types to messages.

use crate::domain::{Order, Stock};
use cell_map::UserKey;
use shop_logic::{Money, PricedLine};
use shop_proto::trade_v1 as pb;

/// A user key as it stands in messages: shop's user ids are strings.
pub(crate) fn user_id(user: &UserKey) -> String {
    String::from_utf8_lossy(user.as_bytes()).into_owned()
}

pub(crate) fn money(money: Money) -> pb::Money {
    pb::Money { currency_code: money.currency().code().to_owned(), minor_units: money.minor_units() }
}

pub(crate) fn priced_line(line: &PricedLine) -> pb::PricedLine {
    pb::PricedLine {
        sku: line.sku.to_string(),
        quantity: line.quantity.get().into(),
        unit_price: Some(money(line.unit_price)),
        line_total: Some(money(line.total)),
    }
}

impl From<&Order> for pb::Order {
    fn from(order: &Order) -> Self {
        Self {
            order_id: order.id.clone(),
            user_id: user_id(&order.user),
            state: pb::OrderState::Paid.into(),
            lines: order.lines.iter().map(priced_line).collect(),
            total: Some(money(order.total)),
            payment_id: order.payment_id.clone(),
            create_time_ms: order.create_time_ms,
        }
    }
}

impl From<&Stock> for pb::StockLevel {
    fn from(stock: &Stock) -> Self {
        Self { sku: stock.sku.to_string(), available: stock.available }
    }
}
