//! A whole mesh on one machine, as the demo and the tests of whole processes run it: for each cell a router and a
//! `cell-services`, and one link process that every connection between regions crosses.

mod config;
mod file;
mod guest;
mod map;
mod place;
mod process;
mod ready;

pub use guest::Guest;
pub use place::{CELLS, Place};

use anyhow::{Context as _, bail};
use file::Files;
use process::{Process, Spec};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::sleep;

/// How long a process may take to drain before it is killed; above the grace in its own configuration.
const STOP_LIMIT: Duration = Duration::from_secs(6);
/// Between two looks at whether a process is ready, or still alive.
const LOOK: Duration = Duration::from_millis(20);

/// What to start.
#[derive(Debug, Clone)]
pub struct ClusterConfig {
    /// How many cells, alternating between the two regions.
    pub cells: usize,
    /// Folder for everything that the processes write. It is made if it is missing; one that a cluster of the same cells
    /// left behind is taken up again with its users.
    pub data: PathBuf,
    /// First port: cell number `i` gets the ten from `port_base + 10 * i`. `None`: any that are free.
    pub port_base: Option<u16>,
    /// OTLP/gRPC endpoint for traces, like `http://127.0.0.1:4317`.
    pub otlp: Option<String>,
    /// Round trip between the regions.
    pub rtt: Duration,
    /// Folder with the binaries `cell-router`, `cell-services` and `cellctl`.
    pub bin_dir: PathBuf,
    /// Whether the global cell starts with products and campaigns.
    pub seed: bool,
    /// Services of others, beside the shop.
    pub guests: Vec<Guest>,
    /// `key=value` settings added to every router.
    pub router_set: Vec<String>,
    /// `key=value` settings added to every `cell-services`.
    pub services_set: Vec<String>,
    /// How long everything together may take until it is ready.
    pub ready_limit: Duration,
}

impl ClusterConfig {
    /// Two cells on free ports, 30 ms apart, with products and campaigns, without traces, ready within 10 s.
    pub fn new(data: impl Into<PathBuf>, bin_dir: impl Into<PathBuf>) -> Self {
        Self {
            cells: 2,
            data: data.into(),
            port_base: None,
            otlp: None,
            rtt: Duration::from_millis(30),
            bin_dir: bin_dir.into(),
            seed: true,
            guests: Vec::new(),
            router_set: Vec::new(),
            services_set: Vec::new(),
            ready_limit: Duration::from_secs(10),
        }
    }
}

/// A running cluster. Dropping it kills what still runs; [`Cluster::shutdown`] ends it in order.
#[derive(Debug)]
pub struct Cluster {
    /// The cells, the global one first.
    pub cells: Vec<Cell>,
    link: Option<Process>,
    files: Files,
    ready_limit: Duration,
    /// Keeps other clusters of this machine from choosing the same ports.
    _claim: Option<TcpListener>,
}

/// One cell: where it is reached, and its two processes.
#[derive(Debug)]
pub struct Cell {
    /// Name, like `bj-1`.
    pub id: String,
    /// Region, like `beijing`.
    pub region: String,
    /// The router's front door.
    pub front: SocketAddr,
    /// The router's peer listener, without the link.
    pub peer: SocketAddr,
    /// The router's admin listener.
    pub admin: SocketAddr,
    /// The front listener of `cell-services`.
    pub services_front: SocketAddr,
    /// The peer listener of `cell-services`.
    pub services_peer: SocketAddr,
    /// The admin listener of `cell-services`.
    pub services_admin: SocketAddr,
    /// Where the other region's routers reach this one's peer listener; `None` without another region.
    pub link: Option<SocketAddr>,
    /// The cell's database.
    pub db_path: PathBuf,
    router_config: PathBuf,
    services_config: PathBuf,
    router: Process,
    services: Process,
    ready_limit: Duration,
}

/// Folder with the release binaries: `$CELLMESH_BIN_DIR`, or `release` in the target folder that the running test or
/// program was built into.
///
/// # Errors
/// If the binaries are not there; the error says how to build them.
pub fn bin_dir() -> anyhow::Result<PathBuf> {
    const BUILD: &str = "build them with: cargo build --release -p cell-router -p cell-services -p cellctl";
    let dir = match std::env::var_os("CELLMESH_BIN_DIR") {
        Some(dir) => PathBuf::from(dir),
        None => target_dir()?.join("release"),
    };
    require_binaries(&dir).context(BUILD)?;
    Ok(dir)
}

/// Cargo's target folder that the running test or program was built into.
///
/// # Errors
/// If it lies in none.
pub fn target_dir() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe().context("asking for the path of the running program")?;
    let target = program.ancestors().find(|dir| dir.join("CACHEDIR.TAG").is_file());
    Ok(target.with_context(|| format!("{} is in no target folder", program.display()))?.to_owned())
}

fn require_binaries(dir: &Path) -> anyhow::Result<()> {
    for name in ["cell-router", "cell-services", "cellctl"] {
        if !dir.join(name).is_file() {
            bail!("there is no '{name}' in {}", dir.display());
        }
    }
    Ok(())
}

impl Cluster {
    /// Writes maps, secrets and configurations, starts all processes and waits until each is ready.
    ///
    /// # Errors
    /// If a port is taken, a file cannot be written, or a process ends or does not get ready: then all are stopped again,
    /// and the error names the process and shows its last lines.
    pub async fn start(config: ClusterConfig) -> anyhow::Result<Self> {
        let mut cluster = Self::prepare(&config)?;
        if let Err(error) = cluster.launch().await {
            // The first failure is what matters; what stopping adds would only hide it.
            let _ = cluster.shutdown().await;
            return Err(error);
        }
        Ok(cluster)
    }

    /// The first half of [`Cluster::start`]: everything but processes.
    ///
    /// # Errors
    /// If a port is taken or a file cannot be written.
    pub fn prepare(config: &ClusterConfig) -> anyhow::Result<Self> {
        require_binaries(&config.bin_dir)?;
        let (places, claim) = place::choose(config)?;
        let files = Files::write(config, &places)?;
        let link = link_spec(config, &places, &files).map(Process::new);
        let cells = places.iter().map(|place| Cell::new(config, place, &files)).collect();
        Ok(Self { cells, link, files, ready_limit: config.ready_limit, _claim: claim })
    }

    /// The second half: starts the processes and waits until each is ready. Whatever becomes of it, even if it is
    /// dropped half-way, [`Cluster::shutdown`] ends what was started.
    ///
    /// # Errors
    /// If a process ends or does not get ready.
    pub async fn launch(&mut self) -> anyhow::Result<()> {
        if let Some(link) = &mut self.link {
            link.start()?;
        }
        for cell in &mut self.cells {
            cell.services.start()?;
            cell.router.start()?;
        }
        let limit = self.ready_limit;
        ready::wait(self.processes(), limit).await
    }

    /// Ends everything in order: doors first, then what stands behind them, the link last.
    ///
    /// # Errors
    /// If a process had to be killed or ended with an error; all are gone even so.
    pub async fn shutdown(&mut self) -> anyhow::Result<()> {
        let routers = self.cells.iter_mut().map(|cell| &mut cell.router);
        let mut results = stop_all(routers).await;
        results.extend(stop_all(self.cells.iter_mut().map(|cell| &mut cell.services)).await);
        results.extend(stop_all(self.link.iter_mut()).await);
        results.into_iter().collect()
    }

    /// Returns when a process ended that was not stopped through this type, with the reason. Cancel safe.
    pub async fn failure(&mut self) -> anyhow::Error {
        loop {
            for process in self.processes() {
                if let Err(error) = process.check() {
                    return error;
                }
            }
            sleep(10 * LOOK).await;
        }
    }

    /// The file with the cell map; publishing to it moves the routers that watch it.
    pub fn map_path(&self) -> &Path {
        &self.files.map
    }

    /// The folder of everything that the processes write.
    pub fn data(&self) -> &Path {
        &self.files.data
    }

    /// The file with the secret of operators.
    pub fn operator_token_file(&self) -> &Path {
        &self.files.operator_token_file
    }

    /// The secret that peers show each other.
    pub fn peer_token(&self) -> &str {
        &self.files.peer_token
    }

    /// The shop's descriptor set, as the routers load it.
    pub fn descriptor_set_path(&self) -> &Path {
        &self.files.descriptor_set
    }

    /// Process ids of all that runs.
    pub fn pids(&mut self) -> Vec<u32> {
        self.processes().filter_map(|process| process.pid()).collect()
    }

    /// Cuts the link: every connection between regions is reset, new ones are refused.
    ///
    /// # Errors
    /// If there is no link, or it is down already.
    pub async fn kill9_link(&mut self) -> anyhow::Result<()> {
        self.link.as_mut().context("a cluster of one cell has no link")?.kill().await
    }

    /// Starts the link again.
    ///
    /// # Errors
    /// If there is none, it is up already, or it cannot listen.
    pub async fn start_link(&mut self) -> anyhow::Result<()> {
        let link = self.link.as_mut().context("a cluster of one cell has no link")?;
        link.start()?;
        ready::wait([link], self.ready_limit).await
    }

    fn processes(&mut self) -> impl Iterator<Item = &mut Process> {
        self.link.iter_mut().chain(self.cells.iter_mut().flat_map(|cell| [&mut cell.router, &mut cell.services]))
    }
}

impl Cell {
    fn new(config: &ClusterConfig, place: &Place, files: &Files) -> Self {
        let folder = files.cell(&place.id);
        let spec = |program: &str, admin: SocketAddr, settings: &[String]| {
            let short = program.trim_start_matches("cell-");
            let mut args: Vec<String> = vec![
                "--config".to_owned(),
                folder.join(format!("{short}.toml")).display().to_string(),
                "--ready-file".to_owned(),
                folder.join(format!("{short}.ready.json")).display().to_string(),
                "--exit-with-stdin".to_owned(),
            ];
            args.extend(settings.iter().flat_map(|setting| ["--set".to_owned(), setting.clone()]));
            Spec {
                name: format!("{program} of {}", place.id),
                program: config.bin_dir.join(program),
                args,
                log: folder.join(format!("{short}.log")),
                ready: process::Ready::Admin(admin),
            }
        };
        Self {
            id: place.id.clone(),
            region: place.region.clone(),
            front: place.front,
            peer: place.peer,
            admin: place.admin,
            services_front: place.services_front,
            services_peer: place.services_peer,
            services_admin: place.services_admin,
            link: place.link,
            db_path: folder.join("cell.db"),
            router_config: folder.join("router.toml"),
            services_config: folder.join("services.toml"),
            router: Process::new(spec("cell-router", place.admin, &config.router_set)),
            services: Process::new(spec("cell-services", place.services_admin, &config.services_set)),
            ready_limit: config.ready_limit,
        }
    }

    /// The router's configuration file.
    pub fn router_config_path(&self) -> &Path {
        &self.router_config
    }

    /// The configuration file of `cell-services`.
    pub fn services_config_path(&self) -> &Path {
        &self.services_config
    }

    /// The router's log.
    pub fn router_log(&self) -> &Path {
        self.router.log()
    }

    /// The log of `cell-services`.
    pub fn services_log(&self) -> &Path {
        self.services.log()
    }

    /// Process id of the router, while it runs.
    pub fn router_pid(&self) -> Option<u32> {
        self.router.pid()
    }

    /// Process id of `cell-services`, while it runs.
    pub fn services_pid(&self) -> Option<u32> {
        self.services.pid()
    }

    /// `kill -9` for the router; returns when it is dead.
    ///
    /// # Errors
    /// If it is not running.
    pub async fn kill9_router(&mut self) -> anyhow::Result<()> {
        self.router.kill().await
    }

    /// `kill -9` for `cell-services`; returns when it is dead.
    ///
    /// # Errors
    /// If it is not running.
    pub async fn kill9_services(&mut self) -> anyhow::Result<()> {
        self.services.kill().await
    }

    /// Drains the router and waits for its end.
    ///
    /// # Errors
    /// If it had to be killed, or ended with an error.
    pub async fn stop_router(&mut self) -> anyhow::Result<()> {
        self.router.stop(STOP_LIMIT).await
    }

    /// Drains `cell-services` and waits for its end.
    ///
    /// # Errors
    /// If it had to be killed, or ended with an error.
    pub async fn stop_services(&mut self) -> anyhow::Result<()> {
        self.services.stop(STOP_LIMIT).await
    }

    /// Starts the router again on its old ports and waits until it is ready.
    ///
    /// # Errors
    /// If it runs already, ends, or does not get ready.
    pub async fn start_router(&mut self) -> anyhow::Result<()> {
        self.router.start()?;
        ready::wait([&mut self.router], self.ready_limit).await
    }

    /// Starts `cell-services` again on its old ports and waits until it is ready.
    ///
    /// # Errors
    /// If it runs already, ends, or does not get ready.
    pub async fn start_services(&mut self) -> anyhow::Result<()> {
        self.services.start()?;
        ready::wait([&mut self.services], self.ready_limit).await
    }
}

/// Stops processes at the same time.
async fn stop_all<'a>(processes: impl Iterator<Item = &'a mut Process>) -> Vec<anyhow::Result<()>> {
    futures_util::future::join_all(processes.map(|process| process.stop(STOP_LIMIT))).await
}

/// The ends of the link at one cell, with what is behind them.
fn ends(place: &Place) -> impl Iterator<Item = (SocketAddr, SocketAddr)> {
    let router = place.link.map(|link| (link, place.peer));
    router.into_iter().chain(place.services_link.map(|link| (link, place.services_front)))
}

/// The link process that carries every connection between regions; `None` if there is one region only.
fn link_spec(config: &ClusterConfig, places: &[Place], files: &Files) -> Option<Spec> {
    let routes: Vec<(SocketAddr, SocketAddr)> = places.iter().flat_map(ends).collect();
    let (listen, _) = *routes.first()?;
    let mut args = vec!["link".to_owned(), "--exit-with-stdin".to_owned()];
    args.extend(["--rtt-ms".to_owned(), config.rtt.as_millis().to_string()]);
    args.extend(routes.iter().flat_map(|(listen, target)| ["--route".to_owned(), format!("{listen}={target}")]));
    Some(Spec {
        name: "the link between the regions".to_owned(),
        program: config.bin_dir.join("cellctl"),
        args,
        log: files.data.join("link.log"),
        ready: process::Ready::Accepts(listen),
    })
}
