//! What trade tells the others.

use crate::domain::Order;
use prost::Message as _;
use service_runtime::{Consumer, MeshChannel};
use shop_proto::{
    member_v1::{DeliverEventRequest, activity_service_client::ActivityServiceClient},
    trade_v1,
};
use std::sync::Arc;
use storage::{OutboxEvent, OutboxRow};
use tonic::Status;

/// Kind of the event that announces a placed order. Its payload is a `shop.trade.v1.Order`.
pub const ORDER_PLACED: &str = "order.placed";

/// Announces a placed order.
pub(crate) fn order_placed(order: &Order) -> OutboxEvent {
    OutboxEvent::new(ORDER_PLACED, trade_v1::Order::from(order).encode_to_vec())
}

/// Tells member of placed orders, wherever their users are at home by then. Member knows a repeated event by its id.
pub fn consumer(mesh: MeshChannel) -> Consumer {
    Consumer::new("shop.member.v1.ActivityService", [ORDER_PLACED], move |event| deliver(mesh.clone(), event))
}

async fn deliver(mesh: MeshChannel, event: Arc<OutboxRow>) -> Result<(), Status> {
    let order = trade_v1::Order::decode(&*event.payload)
        .map_err(|error| Status::internal(format!("event \"{}\" is damaged: {error}", event.event_id)))?;
    let request = DeliverEventRequest {
        user_id: order.user_id,
        event_id: event.event_id.clone(),
        kind: event.kind.clone(),
        subject: order.order_id,
        event_time_ms: order.create_time_ms,
        user_epoch: event.user_epoch.get(),
        sequence: event.sequence,
    };
    ActivityServiceClient::new(mesh).deliver_event(request).await.map(drop)
}
