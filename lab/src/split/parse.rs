//! From messages to the shop's types.

use cell_map::UserKey;
use service_runtime::bad_field;
use shop_logic::{Currency, Line, Lines, Money, OpaqueId, Quantity, Sku, UserId};
use shop_proto::trade_v1 as pb;
use tonic::Status;

pub(super) fn user(text: &str) -> Result<UserKey, Status> {
    let id = UserId::new(text).map_err(|error| bad_field("user_id", error))?;
    UserKey::from_text(id.as_str()).map_err(|error| bad_field("user_id", error))
}

pub(super) fn order_id(text: &str) -> Result<OpaqueId, Status> {
    OpaqueId::new(text).map_err(|error| bad_field("order_id", error))
}

pub(super) fn lines(lines: &[pb::OrderLine]) -> Result<Lines, Status> {
    let line = |(at, line): (usize, &pb::OrderLine)| {
        let sku = Sku::new(&line.sku).map_err(|error| bad_field(&format!("lines[{at}].sku"), error))?;
        let quantity = Quantity::new(line.quantity);
        let quantity = quantity.map_err(|error| bad_field(&format!("lines[{at}].quantity"), error))?;
        Ok(Line { sku, quantity })
    };
    let lines = lines.iter().take(Lines::MAX + 1).enumerate().map(line).collect::<Result<_, Status>>()?;
    Lines::new(lines).map_err(|error| bad_field("lines", error))
}

/// A positive amount of what wallets hold.
pub(super) fn amount(amount: Option<&pb::Money>) -> Result<Money, Status> {
    let amount = amount.ok_or_else(|| bad_field("amount", "is missing"))?;
    let currency = Currency::new(&amount.currency_code).map_err(|error| bad_field("amount.currency_code", error))?;
    if currency != trade::WALLET_CURRENCY {
        return Err(bad_field("amount.currency_code", format!("wallets hold {}", trade::WALLET_CURRENCY.code())));
    }
    if !(1..=trade::MAX_TOP_UP).contains(&amount.minor_units) {
        return Err(bad_field("amount.minor_units", format!("1 to {} are allowed", trade::MAX_TOP_UP)));
    }
    Ok(Money::new(currency, amount.minor_units))
}

/// An amount of what wallets hold as a message.
pub(super) fn money(minor_units: i64) -> pb::Money {
    pb::Money { currency_code: trade::WALLET_CURRENCY.code().to_owned(), minor_units }
}
