//! What the runtime is given.

use crate::{event, follow, grpc, store};
use service_runtime::{Context, Parts, Service};
use shop_logic::{PreviewKey, PreviewKeys};
use shop_proto::trade_v1::{
    pricing_service_server::PricingServiceServer, stock_service_server::StockServiceServer,
    trade_service_server::TradeServiceServer,
};
use std::{error::Error, sync::Arc};
use storage::{Migration, UserData};

/// The service `trade`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trade;

impl Service for Trade {
    fn name(&self) -> &'static str {
        "trade"
    }

    fn descriptor_set(&self) -> &'static [u8] {
        shop_proto::FILE_DESCRIPTOR_SET
    }

    fn migrations(&self) -> Vec<Migration> {
        store::MIGRATIONS.to_vec()
    }

    fn participants(&self) -> Vec<Arc<dyn UserData>> {
        vec![Arc::new(store::user_tables())]
    }

    fn start(&self, context: &Context, parts: &mut Parts) -> Result<(), Box<dyn Error + Send + Sync>> {
        let keys = context.derive_keys(PreviewKey::PURPOSE);
        let keys = keys.into_iter().map(|(id, key)| PreviewKey::new(id, key)).collect();
        let previews = PreviewKeys::new(keys).ok_or("there is no key to seal previews with")?;
        parts.serve(TradeServiceServer::new(grpc::Orders::new(context.clone(), previews)));
        parts.serve(PricingServiceServer::new(grpc::Pricing::new(context.clone())));
        parts.serve(StockServiceServer::new(grpc::Stocks::new(context.clone())));
        parts.consume(event::consumer(context.mesh.clone()));

        // Nothing can be sold before the first catalogue, and nothing priced before the first campaigns.
        let gate = context.readiness.gate("trade: catalogue");
        parts.keep("trade: follow catalogue", context, follow::Products { context: context.clone(), gate });
        let gate = context.readiness.gate("trade: campaigns");
        parts.keep("trade: follow campaigns", context, follow::Campaigns { context: context.clone(), gate });
        Ok(())
    }
}
