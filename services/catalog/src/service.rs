//! What the runtime is given.

use crate::{feed::Feed, grpc, replicate, store};
use serde::Deserialize;
use service_runtime::{Context, Parts, Service};
use shop_proto::catalog_v1::{
    catalog_replication_service_server::CatalogReplicationServiceServer, catalog_service_server::CatalogServiceServer,
};
use std::error::Error;
use storage::Migration;

/// The service `catalog`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Catalog;

/// Section `[catalog]` of the configuration.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Config {
    /// Whether the global cell writes the demo's products that are missing when it starts.
    seed: bool,
}

impl Service for Catalog {
    fn name(&self) -> &'static str {
        "catalog"
    }

    fn descriptor_set(&self) -> &'static [u8] {
        shop_proto::FILE_DESCRIPTOR_SET
    }

    fn migrations(&self) -> Vec<Migration> {
        store::MIGRATIONS.to_vec()
    }

    fn start(&self, context: &Context, parts: &mut Parts) -> Result<(), Box<dyn Error + Send + Sync>> {
        let Config { seed } = context.section(self.name())?;
        let feed = Feed::new(context.clone());
        parts.serve(CatalogServiceServer::new(grpc::Products::new(context.clone(), feed.clone())));
        parts.serve(CatalogReplicationServiceServer::new(grpc::Replication::new(feed.clone())));

        // Nothing can be read before the first snapshot.
        let mut gate = Some(context.readiness.gate("catalog: first snapshot"));
        let ready = move || {
            if let Some(gate) = gate.take() {
                gate.open();
            }
        };
        let (context, shutdown) = (context.clone(), context.shutdown.clone());
        parts.task("catalog: keep", async move {
            shutdown.run_until_cancelled_owned(replicate::run(context, feed, seed, ready)).await;
        });
        Ok(())
    }
}
