//! Orders and wallets.

use super::{convert, parse};
use crate::{
    Error, PREVIEW_TTL_MS,
    domain::{Basis, Order, Placing, new_id},
    store::{self, Tariff},
};
use cell_map::UserKey;
use service_runtime::{Context, status};
use shop_logic::{Asked, PreviewKeys, PreviewTerms, Violations};
use shop_proto::trade_v1::{self as pb, trade_service_server::TradeService};
use storage::{IdempotencyKey, PageScope};
use tonic::{Code, Request, Response, Status, async_trait};

const PLACE_ORDER: &str = "/shop.trade.v1.TradeService/PlaceOrder";
const TOP_UP: &str = "/shop.trade.v1.TradeService/TopUp";
const LIST_ORDERS: &str = "/shop.trade.v1.TradeService/ListOrders";

/// `shop.trade.v1.TradeService`.
#[derive(Clone)]
pub struct Orders {
    context: Context,
    previews: PreviewKeys,
}

impl Orders {
    /// The service of this cell.
    #[must_use]
    pub const fn new(context: Context, previews: PreviewKeys) -> Self {
        Self { context, previews }
    }

    /// The wallet message of a user.
    fn wallet(user: &UserKey, balance: shop_logic::Money) -> pb::Wallet {
        pb::Wallet { user_id: convert::user_id(user), balance: Some(balance.into()) }
    }
}

#[async_trait]
impl TradeService for Orders {
    async fn preview_order(
        &self,
        request: Request<pb::PreviewOrderRequest>,
    ) -> Result<Response<pb::PreviewOrderResponse>, Status> {
        let asked = parse::preview_order(request.get_ref())?;
        let now_ms = self.context.now_ms();
        let (tariff, quote) = super::pricing::quote(&self.context, &asked, now_ms).await?;
        if let Some(Err(refusal)) = quote.coupon() {
            return Err(Error::from(refusal).into());
        }
        let Tariff { catalog_version, campaign_version, .. } = tariff;
        let expire_time_ms = now_ms.saturating_add(PREVIEW_TTL_MS);
        let terms = PreviewTerms { catalog_version, campaign_version, expire_time_ms };
        let parse::Priced { user, lines, coupon } = &asked;
        let asked = Asked { user: user.as_bytes(), lines, coupon: coupon.as_ref() };
        Ok(Response::new(pb::PreviewOrderResponse {
            preview_token: self.previews.seal(&asked, &quote, terms),
            lines: quote.lines().iter().map(Into::into).collect(),
            discounts: quote.discounts().iter().map(Into::into).collect(),
            subtotal: Some(quote.subtotal().into()),
            total: Some(quote.total().into()),
            catalog_version,
            campaign_version,
            expire_time_ms,
        }))
    }

    async fn place_order(
        &self,
        request: Request<pb::PlaceOrderRequest>,
    ) -> Result<Response<pb::PlaceOrderResponse>, Status> {
        let request = request.into_inner();
        let parse::PlaceOrder { user, request_id, lines, coupon } = parse::place_order(&request)?;
        let now_ms = self.context.now_ms();
        let basis = match &*request.preview_token {
            "" => Basis::Present,
            token => {
                let asked = Asked { user: user.as_bytes(), lines: &lines, coupon: coupon.as_ref() };
                Basis::Previewed(self.previews.open(token, &asked, now_ms).map(|preview| preview.quote))
            }
        };
        let key = IdempotencyKey::of(PLACE_ORDER, request_id.as_str(), &request)
            .map_err(Violations::of("request_id"))
            .map_err(Error::Invalid)?;
        let fence = self.context.fence(&user);
        let (order_id, payment_id) = (new_id(now_ms), new_id(now_ms));
        let placing = Placing { user: user.clone(), lines, coupon, basis, order_id, payment_id, now_ms };
        let placed = self.context.db.idempotent(&fence, key, move |tx| {
            Box::pin(async move {
                let order = store::place_order(tx, &placing).await?;
                Ok(pb::PlaceOrderResponse { order: Some((&order).into()) })
            })
        });
        Ok(Response::new(placed.await.map_err(status::<Error>)?.into_inner()))
    }

    async fn get_order(&self, request: Request<pb::GetOrderRequest>) -> Result<Response<pb::GetOrderResponse>, Status> {
        let (user, id) = parse::get_order(request.get_ref())?;
        let (key, wanted) = (user.clone(), id.clone());
        let fence = self.context.fence(&user);
        let read = self
            .context
            .db
            .fenced_read(&fence, move |tx| Box::pin(async move { store::find(tx.conn(), &key, &wanted).await }));
        let order = read.await.map_err(status::<Error>)?.ok_or(Error::OrderNotFound(id))?;
        Ok(Response::new(pb::GetOrderResponse { order: Some((&order).into()) }))
    }

    async fn batch_get_orders(
        &self,
        request: Request<pb::BatchGetOrdersRequest>,
    ) -> Result<Response<pb::BatchGetOrdersResponse>, Status> {
        let (user, ids) = parse::batch_get_orders(request.get_ref())?;
        let (key, wanted) = (user.clone(), ids.clone());
        let fence = self.context.fence(&user);
        let read = self
            .context
            .db
            .fenced_read(&fence, move |tx| Box::pin(async move { store::orders(tx.conn(), &key, &wanted).await }));
        let orders = read.await.map_err(status::<Error>)?;
        let results = ids.into_iter().map(|id| match orders.get(id.as_str()) {
            Some(order) => {
                pb::OrderResult { order_id: id.to_string(), order: Some(order.into()), ..Default::default() }
            }
            None => pb::OrderResult {
                order_id: id.to_string(),
                order: None,
                code: Code::NotFound.into(),
                message: Error::OrderNotFound(id).to_string(),
            },
        });
        Ok(Response::new(pb::BatchGetOrdersResponse { results: results.collect() }))
    }

    async fn list_orders(
        &self,
        request: Request<pb::ListOrdersRequest>,
    ) -> Result<Response<pb::ListOrdersResponse>, Status> {
        let request = request.into_inner();
        let (user, size) = parse::list_orders(&request)?;
        let scope = PageScope { method: LIST_ORDERS, user: Some(&user), filter: &[] };
        let before: Option<String> = scope
            .open(&self.context.seal, &request.page_token)
            .map_err(Violations::of("page_token"))
            .map_err(Error::Invalid)?;
        let key = user.clone();
        let fence = self.context.fence(&user);
        let read = self.context.db.fenced_read(&fence, move |tx| {
            Box::pin(async move { store::list(tx.conn(), &key, before.as_deref(), size.limit()).await })
        });
        let (orders, next) = size.cut(read.await.map_err(status::<Error>)?, |order: &Order| order.id.clone());
        Ok(Response::new(pb::ListOrdersResponse {
            orders: orders.iter().map(Into::into).collect(),
            next_page_token: next.map(|id| scope.seal(&self.context.seal, &id)).unwrap_or_default(),
        }))
    }

    async fn top_up(&self, request: Request<pb::TopUpRequest>) -> Result<Response<pb::TopUpResponse>, Status> {
        let request = request.into_inner();
        let parse::TopUp { user, request_id, amount } = parse::top_up(&request)?;
        let key = IdempotencyKey::of(TOP_UP, request_id.as_str(), &request)
            .map_err(Violations::of("request_id"))
            .map_err(Error::Invalid)?;
        let fence = self.context.fence(&user);
        let (owner, now_ms) = (user.clone(), self.context.now_ms());
        let filled = self.context.db.idempotent(&fence, key, move |tx| {
            Box::pin(async move {
                let balance = store::top_up(tx.conn(), &owner, new_id(now_ms), amount, now_ms).await?;
                Ok(pb::TopUpResponse { wallet: Some(Self::wallet(&owner, balance)) })
            })
        });
        Ok(Response::new(filled.await.map_err(status::<Error>)?.into_inner()))
    }

    /// Any user at home here has a wallet; before the first top-up it is empty.
    async fn get_wallet(
        &self,
        request: Request<pb::GetWalletRequest>,
    ) -> Result<Response<pb::GetWalletResponse>, Status> {
        let user = parse::get_wallet(request.get_ref())?;
        let owner = user.clone();
        let fence = self.context.fence(&user);
        let read = self
            .context
            .db
            .fenced_read(&fence, move |tx| Box::pin(async move { store::balance(tx.conn(), &owner).await }));
        let balance = read.await.map_err(status::<Error>)?;
        Ok(Response::new(pb::GetWalletResponse { wallet: Some(Self::wallet(&user, balance)) }))
    }
}
