//! From messages to trade's types: every fault of a request is told at once.

use crate::{DEFAULT_PAGE, Error, MAX_BATCH, MAX_PAGE, MAX_TOP_UP, WALLET_CURRENCY};
use cell_map::UserKey;
use shop_logic::{
    CouponCode, Currency, InvalidError, Line, Lines, Money, OpaqueId, Quantity, RequestId, Sku, UserId, Violations,
};
use shop_proto::trade_v1 as pb;
use storage::PageSize;

/// One request being read.
#[derive(Default)]
struct Fields(Violations);

impl Fields {
    /// The request's parts if nothing was wrong.
    fn finish<T>(self, parts: Option<T>) -> Result<T, Error> {
        self.0.finish(parts).map_err(Error::Invalid)
    }

    fn user(&mut self, text: &str) -> Option<UserKey> {
        let id = self.0.take("user_id", UserId::new(text))?;
        self.0.take("user_id", UserKey::from_text(id.as_str()))
    }

    fn request_id(&mut self, text: &str) -> Option<RequestId> {
        self.0.take("request_id", RequestId::new(text))
    }

    fn order_id(&mut self, text: &str) -> Option<OpaqueId> {
        self.0.take("order_id", OpaqueId::new(text))
    }

    fn order_ids(&mut self, texts: &[String]) -> Option<Vec<OpaqueId>> {
        self.0.take("order_ids", InvalidError::count(texts.len(), MAX_BATCH))?;
        let ids: Vec<_> = texts
            .iter()
            .enumerate()
            .map(|(at, id)| self.0.take(format!("order_ids[{at}]"), OpaqueId::new(id)))
            .collect();
        ids.into_iter().collect()
    }

    fn skus(&mut self, texts: &[String]) -> Option<Vec<Sku>> {
        self.0.take("skus", InvalidError::count(texts.len(), MAX_BATCH))?;
        let skus: Vec<_> =
            texts.iter().enumerate().map(|(at, sku)| self.0.take(format!("skus[{at}]"), Sku::new(sku))).collect();
        skus.into_iter().collect()
    }

    fn page_size(&mut self, asked: i32) -> Option<PageSize> {
        self.0.take("page_size", PageSize::from_request(asked, DEFAULT_PAGE, MAX_PAGE))
    }

    fn lines(&mut self, lines: &[pb::OrderLine]) -> Option<Lines> {
        // Counted first: a message may hold very many lines, and each bad one would be described.
        self.0.take("lines", InvalidError::count(lines.len(), Lines::MAX))?;
        let mut parsed = Vec::with_capacity(lines.len());
        for (at, line) in lines.iter().enumerate() {
            let sku = self.0.take(format!("lines[{at}].sku"), Sku::new(&line.sku));
            let quantity = self.0.take(format!("lines[{at}].quantity"), Quantity::new(line.quantity));
            parsed.extend(sku.zip(quantity).map(|(sku, quantity)| Line { sku, quantity }));
        }
        if parsed.len() < lines.len() {
            return None;
        }
        self.0.take("lines", Lines::new(parsed))
    }

    /// A coupon, if one is given.
    fn coupon(&mut self, code: &str) -> Option<Option<CouponCode>> {
        if code.is_empty() { Some(None) } else { self.0.take("coupon_code", CouponCode::new(code)).map(Some) }
    }

    /// An amount for a wallet: positive, bounded, in the wallets' currency.
    fn top_up(&mut self, amount: Option<&pb::Money>) -> Option<Money> {
        let amount = self.0.take("amount", amount.ok_or(InvalidError::Missing))?;
        let currency =
            self.0.take("amount.currency_code", Currency::new(&amount.currency_code).and_then(wallet_currency));
        let minor_units = self.0.take("amount.minor_units", InvalidError::range(amount.minor_units, 1..=MAX_TOP_UP));
        Some(Money::new(currency?, minor_units?))
    }
}

fn wallet_currency(currency: Currency) -> Result<Currency, InvalidError> {
    if currency == WALLET_CURRENCY {
        Ok(currency)
    } else {
        Err(InvalidError::OtherCurrency { found: currency.code(), allowed: WALLET_CURRENCY.code() })
    }
}

/// A request to place an order.
pub(super) struct PlaceOrder {
    pub(super) user: UserKey,
    pub(super) request_id: RequestId,
    pub(super) lines: Lines,
    pub(super) coupon: Option<CouponCode>,
}

/// A request to fill a wallet.
pub(super) struct TopUp {
    pub(super) user: UserKey,
    pub(super) request_id: RequestId,
    pub(super) amount: Money,
}

/// What a user asks a price of.
#[derive(Clone)]
pub(super) struct Priced {
    pub(super) user: UserKey,
    pub(super) lines: Lines,
    pub(super) coupon: Option<CouponCode>,
}

fn priced(
    user_id: &str,
    lines: &[pb::OrderLine],
    coupon: impl FnOnce(&mut Fields) -> Option<Option<CouponCode>>,
) -> Result<Priced, Error> {
    let mut fields = Fields::default();
    let user = fields.user(user_id);
    let lines = fields.lines(lines);
    let coupon = coupon(&mut fields);
    let parts = user.zip(lines).zip(coupon);
    fields.finish(parts.map(|((user, lines), coupon)| Priced { user, lines, coupon }))
}

pub(super) fn preview_order(request: &pb::PreviewOrderRequest) -> Result<Priced, Error> {
    priced(&request.user_id, &request.lines, |fields| fields.coupon(&request.coupon_code))
}

pub(super) fn check_coupon(request: &pb::CheckCouponRequest) -> Result<Priced, Error> {
    let code = CouponCode::new(&request.coupon_code);
    priced(&request.user_id, &request.lines, |fields| fields.0.take("coupon_code", code).map(Some))
}

pub(super) fn check_preview(request: &pb::CheckPreviewRequest) -> Result<Priced, Error> {
    priced(&request.user_id, &request.lines, |fields| fields.coupon(&request.coupon_code))
}

pub(super) fn quote_price(request: &pb::QuotePriceRequest) -> Result<(Lines, Option<CouponCode>), Error> {
    let mut fields = Fields::default();
    let (lines, coupon) = (fields.lines(&request.lines), fields.coupon(&request.coupon_code));
    fields.finish(lines.zip(coupon))
}

pub(super) fn watch_redemptions(request: &pb::WatchRedemptionsRequest) -> Result<UserKey, Error> {
    let mut fields = Fields::default();
    let user = fields.user(&request.user_id);
    fields.finish(user)
}

pub(super) fn place_order(request: &pb::PlaceOrderRequest) -> Result<PlaceOrder, Error> {
    let mut fields = Fields::default();
    let user = fields.user(&request.user_id);
    let request_id = fields.request_id(&request.request_id);
    let lines = fields.lines(&request.lines);
    let coupon = fields.coupon(&request.coupon_code);
    let parts = user.zip(request_id).zip(lines).zip(coupon);
    fields.finish(parts.map(|(((user, request_id), lines), coupon)| PlaceOrder { user, request_id, lines, coupon }))
}

pub(super) fn get_order(request: &pb::GetOrderRequest) -> Result<(UserKey, OpaqueId), Error> {
    let mut fields = Fields::default();
    let (user, id) = (fields.user(&request.user_id), fields.order_id(&request.order_id));
    fields.finish(user.zip(id))
}

pub(super) fn batch_get_orders(request: &pb::BatchGetOrdersRequest) -> Result<(UserKey, Vec<OpaqueId>), Error> {
    let mut fields = Fields::default();
    let (user, ids) = (fields.user(&request.user_id), fields.order_ids(&request.order_ids));
    fields.finish(user.zip(ids))
}

pub(super) fn list_orders(request: &pb::ListOrdersRequest) -> Result<(UserKey, PageSize), Error> {
    let mut fields = Fields::default();
    let (user, size) = (fields.user(&request.user_id), fields.page_size(request.page_size));
    fields.finish(user.zip(size))
}

pub(super) fn top_up(request: &pb::TopUpRequest) -> Result<TopUp, Error> {
    let mut fields = Fields::default();
    let user = fields.user(&request.user_id);
    let request_id = fields.request_id(&request.request_id);
    let amount = fields.top_up(request.amount.as_ref());
    let parts = user.zip(request_id).zip(amount);
    fields.finish(parts.map(|((user, request_id), amount)| TopUp { user, request_id, amount }))
}

pub(super) fn get_wallet(request: &pb::GetWalletRequest) -> Result<UserKey, Error> {
    let mut fields = Fields::default();
    let user = fields.user(&request.user_id);
    fields.finish(user)
}

pub(super) fn batch_get_stock(request: &pb::BatchGetStockRequest) -> Result<Vec<Sku>, Error> {
    let mut fields = Fields::default();
    let skus = fields.skus(&request.skus);
    fields.finish(skus)
}
