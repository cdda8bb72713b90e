//! The processes.

use super::{Inner, Pool, Sdk, Shop, stock};
use crate::{
    processes::{cpu_ns, metric_where},
    split::Split,
};
use cellctl::cluster::{Cluster, ClusterConfig, bin_dir};
use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

/// Running processes: routers, services and the link of two cells, and the lab's split services beside them.
pub struct World {
    cluster: Cluster,
    split: Split,
    _dir: tempfile::TempDir,
}

/// How long processes are watched to tell whether they rest; longer than events are gathered before their delivery.
const WATCHED: Duration = Duration::from_millis(50);
/// How much of a processor they need at rest.
const IDLE_PERCENT: u64 = 4;

/// Whether a metric's line is about calls that callers make: no streams, no probes, nothing that follows from an event.
fn counts(line: &str) -> bool {
    let ours = line.contains("shop.") || line.contains("lab.");
    ours && !["Watch", "Subscribe", "DeliverEvent"].iter().any(|other| line.contains(other))
}

impl World {
    /// Starts everything and fills it, with the `lab-split` beside this program.
    ///
    /// # Errors
    /// If a binary is missing or something does not start.
    pub async fn start() -> anyhow::Result<(Self, Shop)> {
        Self::start_with(std::env::current_exe()?.with_file_name("lab-split")).await
    }

    /// The same with this `lab-split`.
    ///
    /// # Errors
    /// If a binary is missing or something does not start.
    pub async fn start_with(split: PathBuf) -> anyhow::Result<(Self, Shop)> {
        let dir = tempfile::tempdir()?;
        let mut config = ClusterConfig::new(dir.path(), bin_dir()?);
        config.ready_limit = Duration::from_secs(30);
        let mut cluster = Cluster::prepare(&config)?;
        let mut split = Split::prepare(&cluster, &split)?;
        split.start().await?;
        cluster.launch().await?;
        let world = Self { cluster, split, _dir: dir };
        let fronts: Vec<SocketAddr> = world.cluster.cells.iter().map(|cell| cell.front).collect();
        let (routers, far_routers) = (Pool::connect(fronts[0]).await?, Pool::connect(fronts[1]).await?);
        let cells: Vec<String> = world.cluster.cells.iter().map(|cell| cell.id.clone()).collect();
        let skus = stock::products(&cells, &[&routers, &far_routers]).await?;
        let (here, far) = tokio::try_join!(stock::members(&routers), stock::members(&far_routers))?;
        let sdk = Sdk::connect(&fronts, &[&here[0], &far[0]]).await?;
        let shop = Shop(Arc::new(Inner { here, far, skus, routers, far_routers, sdk }));
        Ok((world, shop))
    }

    /// Calls that services served, and passes through routers, so far.
    pub(in crate::rows) async fn calls(&self) -> anyhow::Result<[f64; 2]> {
        let cells = &self.cluster.cells;
        let (mut calls, mut passes) = (0.0, 0.0);
        for admin in cells.iter().map(|cell| cell.services_admin).chain(self.split.admins()) {
            calls += metric_where(admin, "cellmesh_server_calls_total", counts).await?;
        }
        for cell in cells {
            passes += metric_where(cell.admin, "cellmesh_router_calls_total", counts).await?;
        }
        Ok([calls, passes])
    }

    /// Waits until routers and services are at rest: what followed from the calls, like the delivery of events, is over
    /// too. They are watched from outside, so that it costs them nothing.
    ///
    /// # Errors
    /// If there is no end of it.
    pub(in crate::rows) async fn settle(&self) -> anyhow::Result<()> {
        let busy = || self.cpu_ns().map(|[_, routers, services]| routers + services);
        for _ in 0..400 {
            let before = busy()?;
            tokio::time::sleep(WATCHED).await;
            if busy()?.saturating_sub(before) < WATCHED.as_nanos() as u64 * IDLE_PERCENT / 100 {
                return Ok(());
            }
        }
        anyhow::bail!("routers and services do not come to rest")
    }

    /// Processor time of this process, the routers, the services, in nanoseconds, so far.
    pub(in crate::rows) fn cpu_ns(&self) -> anyhow::Result<[u64; 3]> {
        let cells = &self.cluster.cells;
        let cpu = |pids: Vec<u32>| pids.into_iter().map(cpu_ns).sum::<anyhow::Result<u64>>();
        let services = cells.iter().filter_map(|cell| cell.services_pid()).chain(self.split.pids()).collect();
        let routers = cells.iter().filter_map(|cell| cell.router_pid()).collect();
        Ok([cpu(vec![std::process::id()])?, cpu(routers)?, cpu(services)?])
    }

    /// Ends the processes.
    ///
    /// # Errors
    /// If one had to be killed, or ended with an error.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        let split = self.split.stop().await;
        self.cluster.shutdown().await?;
        split
    }
}
