//! What the runtime is given.

use crate::{CampaignSet, grpc, seed, store};
use serde::Deserialize;
use service_runtime::{Context, Copied, Parts, Service};
use shop_proto::campaign_v1::{
    campaign_replication_service_server::CampaignReplicationServiceServer,
    campaign_service_server::CampaignServiceServer,
};
use std::error::Error;
use storage::Migration;

/// The service `campaign`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Campaigns;

/// Section `[campaign]` of the configuration.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Config {
    /// Whether the global cell writes the demo's campaigns that are missing when it begins to write.
    seed: bool,
}

impl Service for Campaigns {
    fn name(&self) -> &'static str {
        "campaign"
    }

    fn descriptor_set(&self) -> &'static [u8] {
        shop_proto::FILE_DESCRIPTOR_SET
    }

    fn migrations(&self) -> Vec<Migration> {
        store::MIGRATIONS.to_vec()
    }

    fn start(&self, context: &Context, parts: &mut Parts) -> Result<(), Box<dyn Error + Send + Sync>> {
        let Config { seed } = context.section(self.name())?;
        let seeds = if seed { seed::campaigns() } else { Vec::new() };
        let copied = Copied::keep(CampaignSet { seeds }, "campaign: first snapshot", context, parts);
        parts.serve(CampaignServiceServer::new(grpc::Campaigns::new(context.clone(), copied.clone())));
        parts.serve(CampaignReplicationServiceServer::new(grpc::Replication(copied)));
        Ok(())
    }
}
