//! Orders and stock, without money: reserve, have it paid, confirm.

mod store;

use super::{
    FILE_DESCRIPTOR_SET, parse,
    proto::{
        PayRequest,
        order_service_server::{OrderService, OrderServiceServer},
        payment_service_client::PaymentServiceClient,
    },
};
use service_runtime::{Context, Parts, Service, bad_field, status};
use shop_proto::trade_v1::{GetOrderRequest, GetOrderResponse, PlaceOrderRequest, PlaceOrderResponse};
use std::{error::Error, sync::Arc};
use storage::{IdempotencyKey, Migration, UserData};
use tonic::{Request, Response, Status, async_trait};

const PLACE_ORDER: &str = "/lab.split.v1.OrderService/PlaceOrder";

/// The service `order`.
pub(super) struct Order;

impl Service for Order {
    fn name(&self) -> &'static str {
        "order"
    }

    fn descriptor_set(&self) -> &'static [u8] {
        FILE_DESCRIPTOR_SET
    }

    fn migrations(&self) -> Vec<Migration> {
        let sql = include_str!("../../migrations/split_order.sql");
        vec![Migration { module: "split_order", version: 1, name: "orders", sql }]
    }

    fn participants(&self) -> Vec<Arc<dyn UserData>> {
        vec![Arc::new(store::user_tables())]
    }

    fn start(&self, context: &Context, parts: &mut Parts) -> Result<(), Box<dyn Error + Send + Sync>> {
        parts.serve(OrderServiceServer::new(Orders(context.clone())));
        parts.consume(trade::consumer(context.mesh.clone()));
        Ok(())
    }
}

struct Orders(Context);

#[async_trait]
impl OrderService for Orders {
    /// Each step may be repeated: the first and the second are kept by their keys, the third changes a reserved order
    /// only. Whoever gets no answer repeats the call; an order whose caller never does stays reserved.
    async fn place_order(&self, request: Request<PlaceOrderRequest>) -> Result<Response<PlaceOrderResponse>, Status> {
        let request = request.into_inner();
        let (user, lines) = (parse::user(&request.user_id)?, parse::lines(&request.lines)?);
        if !request.coupon_code.is_empty() {
            return Err(bad_field("coupon_code", "must be empty: the lab knows no coupons"));
        }
        let key = IdempotencyKey::of(PLACE_ORDER, &request.request_id, &request);
        let key = key.map_err(|error| bad_field("request_id", error))?;
        let (owner, now_ms) = (user.clone(), self.0.now_ms());
        let fence = self.0.fence(&user);
        let reserved = self.0.db.idempotent(&fence, key, move |tx| {
            Box::pin(async move {
                let order = Some(store::reserve(tx.conn(), &owner, &lines, now_ms).await?);
                Ok(PlaceOrderResponse { order })
            })
        });
        let reserved = reserved.await.map_err(status::<trade::Error>)?.into_inner();
        let order = reserved.order.ok_or_else(|| Status::internal("a reservation without an order"))?;

        let (user_id, order_id) = (order.user_id.clone(), order.order_id.clone());
        let pay = PayRequest { user_id, order_id, amount: order.total.clone() };
        let paid = PaymentServiceClient::new(self.0.mesh.clone()).pay(pay).await?.into_inner();

        let owner = user.clone();
        let fence = self.0.fence(&user);
        let settled = self
            .0
            .db
            .fenced(&fence, move |tx| Box::pin(async move { store::settle(tx, &owner, order, paid.payment_id).await }));
        let order = settled.await.map_err(status::<trade::Error>)??;
        Ok(Response::new(PlaceOrderResponse { order: Some(order) }))
    }

    async fn get_order(&self, request: Request<GetOrderRequest>) -> Result<Response<GetOrderResponse>, Status> {
        let user = parse::user(&request.get_ref().user_id)?;
        let id = parse::order_id(&request.get_ref().order_id)?;
        let (owner, order) = (user.clone(), id.clone());
        let fence = self.0.fence(&user);
        let read = self.0.db.fenced_read(&fence, move |tx| {
            Box::pin(async move { store::find(tx.conn(), &owner, order.as_str()).await })
        });
        let order = read.await.map_err(status::<trade::Error>)?.ok_or(trade::Error::OrderNotFound(id))?;
        Ok(Response::new(GetOrderResponse { order: Some(order) }))
    }
}
