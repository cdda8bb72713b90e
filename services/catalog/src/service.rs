//! What the runtime is given.

use crate::{Catalogue, grpc, seed, store};
use serde::Deserialize;
use service_runtime::{Context, Copied, Parts, Service};
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
        let seeds = if seed { seed::products(&context.map.load()) } else { Vec::new() };
        let copied = Copied::keep(Catalogue { seeds }, "catalog: first snapshot", context, parts);
        parts.serve(CatalogServiceServer::new(grpc::Products::new(context.clone(), copied.clone())));
        parts.serve(CatalogReplicationServiceServer::new(grpc::Replication(copied)));
        Ok(())
    }
}
