//! The two kinds of caller.

use anyhow::Context as _;
use client_sdk::{Mesh, Source};
use shop_client::{
    FollowCheck,
    catalog::CatalogServiceClient,
    follow::FollowServiceClient,
    member::{ActivityServiceClient, MemberServiceClient},
    trade::{PricingServiceClient, StockServiceClient, TradeServiceClient},
};
use shop_proto::member_v1::GetMemberRequest;
use std::{
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};
use tokio::time::{sleep, timeout};
use tonic::transport::{Channel, Endpoint};

/// As many as the SDK makes.
const CONNECTIONS: usize = 4;
/// How long one waits for the mesh to be known.
const PATIENCE: Duration = Duration::from_secs(30);

/// Connections to one address, taken in turn.
pub struct Pool {
    channels: Vec<Channel>,
    next: AtomicUsize,
}

impl Pool {
    /// Connects.
    ///
    /// # Errors
    /// If nobody listens there.
    pub async fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?.tcp_nodelay(true);
        let endpoint = endpoint.timeout(Duration::from_secs(10));
        let mut channels = Vec::with_capacity(CONNECTIONS);
        for _ in 0..CONNECTIONS {
            channels.push(endpoint.connect().await?);
        }
        Ok(Self { channels, next: AtomicUsize::new(0) })
    }

    /// The next connection, for a generated client.
    #[must_use]
    pub fn channel(&self) -> Channel {
        self.channels[self.next.fetch_add(1, Ordering::Relaxed) % self.channels.len()].clone()
    }
}

/// The SDK's typed clients, over one mesh.
pub struct Sdk {
    /// Members.
    pub members: MemberServiceClient,
    /// What they did.
    pub activities: ActivityServiceClient,
    /// Whom they follow.
    pub follows: FollowServiceClient,
    /// Products.
    pub catalog: CatalogServiceClient,
    /// Orders and wallets.
    pub trade: TradeServiceClient,
    /// The cell's stock.
    pub stock: StockServiceClient,
    /// Prices with promotions.
    pub pricing: PricingServiceClient,
}

impl Sdk {
    /// Clients of a mesh that knows the way to these members' homes.
    ///
    /// # Errors
    /// If it does not get to know it.
    pub async fn connect(seeds: &[SocketAddr], members: &[&str]) -> anyhow::Result<Self> {
        let seeds = seeds.iter().map(ToString::to_string);
        let mesh = Mesh::builder().seeds(seeds).local_logic(FollowCheck)?.build()?;
        timeout(PATIENCE, mesh.ready()).await.context("no router tells the map")??;
        let this = Self {
            members: MemberServiceClient::new(&mesh),
            activities: ActivityServiceClient::new(&mesh),
            follows: FollowServiceClient::new(&mesh),
            catalog: CatalogServiceClient::new(&mesh),
            trade: TradeServiceClient::new(&mesh),
            stock: StockServiceClient::new(&mesh),
            pricing: PricingServiceClient::new(&mesh),
        };
        // The routers tell each other's instances a moment later.
        let direct = async {
            for user_id in members {
                let ask = || this.members.get_member(GetMemberRequest { user_id: (*user_id).to_owned() });
                while !matches!(ask().await?.source, Source::Remote { attempts: 1, hops: 0, .. }) {
                    sleep(Duration::from_millis(20)).await;
                }
            }
            anyhow::Ok(())
        };
        timeout(PATIENCE, direct).await.context("no direct way to a member's home")??;
        Ok(this)
    }
}
