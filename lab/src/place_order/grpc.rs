//! PlaceOrder over gRPC, at a real service and through a real router.

use super::Place;
use anyhow::Context as _;
use cellctl::cluster::{Cluster, ClusterConfig, bin_dir};
use shop_proto::{catalog_v1 as catalog, member_v1 as member, trade_v1 as trade};
use std::{net::SocketAddr, path::Path, sync::Arc};
use testkit::call::Caller;

/// A cell of real processes.
pub struct Mesh {
    cluster: Cluster,
    users: Arc<Vec<String>>,
    skus: Arc<Vec<String>>,
}

/// Callers of one address.
#[derive(Clone)]
pub struct Calls {
    callers: Arc<Vec<Caller>>,
    users: Arc<Vec<String>>,
    skus: Arc<Vec<String>>,
}

impl Mesh {
    /// Starts one cell with users that have money.
    pub async fn start(data: &Path) -> anyhow::Result<Self> {
        let mut config = ClusterConfig::new(data, bin_dir()?);
        config.cells = 1;
        let cluster = Cluster::start(config).await?;
        let mut caller = Caller::connect(cluster.cells[0].front).await?;
        let mut users = Vec::new();
        for _ in 0..64 {
            let path = "/shop.member.v1.MemberService/Register";
            let told = caller.message(path, &member::RegisterRequest::default(), &[]).await?;
            let user = told.message::<member::RegisterResponse>()?.user_id;
            for n in 0..10 {
                let amount = Some(trade::Money { currency_code: "CNY".into(), minor_units: 100_000_000 });
                let request = trade::TopUpRequest { user_id: user.clone(), request_id: format!("start-{n}"), amount };
                caller
                    .message("/shop.trade.v1.TradeService/TopUp", &request, &[])
                    .await?
                    .message::<trade::TopUpResponse>()?;
            }
            users.push(user);
        }
        // Products made for this, with stock that does not run out.
        let mut skus = Vec::new();
        for n in 0..10 {
            let sku = format!("lab-{n}");
            let product = catalog::Product {
                sku: sku.clone(),
                title: "for the lab".into(),
                unit_price: Some(catalog::Money { currency_code: "CNY".into(), minor_units: 100 }),
                version: 0,
                allotments: vec![catalog::Allotment { cell: cluster.cells[0].id.clone(), quantity: 100_000_000 }],
            };
            let request = catalog::CreateProductRequest { request_id: sku.clone(), product: Some(product) };
            let path = "/shop.catalog.v1.CatalogService/CreateProduct";
            caller.message(path, &request, &[]).await?.message::<catalog::CreateProductResponse>()?;
            skus.push(sku);
        }
        // trade follows the catalogue within moments.
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        Ok(Self { cluster, users: Arc::new(users), skus: Arc::new(skus) })
    }

    /// Process id of `cell-services`.
    pub fn services_pid(&self) -> u32 {
        self.cluster.cells[0].services_pid().unwrap_or(0)
    }

    /// Calls at the service's own port.
    pub async fn service(&self) -> anyhow::Result<Calls> {
        self.calls(self.cluster.cells[0].services_front).await
    }

    /// Calls through the router.
    pub async fn router(&self) -> anyhow::Result<Calls> {
        self.calls(self.cluster.cells[0].front).await
    }

    async fn calls(&self, addr: SocketAddr) -> anyhow::Result<Calls> {
        let mut callers = Vec::new();
        for _ in 0..8 {
            callers.push(Caller::connect(addr).await?);
        }
        Ok(Calls { callers: Arc::new(callers), users: self.users.clone(), skus: self.skus.clone() })
    }

    /// Ends the processes.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.cluster.shutdown().await
    }
}

impl Place for Calls {
    async fn place(&self, caller: usize, n: usize) -> anyhow::Result<()> {
        let mut connection = self.callers[caller % self.callers.len()].clone();
        let request = trade::PlaceOrderRequest {
            user_id: self.users[n % self.users.len()].clone(),
            request_id: format!("r-{n}"),
            lines: vec![trade::OrderLine { sku: self.skus[n % self.skus.len()].clone(), quantity: 1 }],
            ..Default::default()
        };
        let answer = connection.message("/shop.trade.v1.TradeService/PlaceOrder", &request, &[]).await?;
        answer.message::<trade::PlaceOrderResponse>()?.order.context("no order").map(drop)
    }
}
