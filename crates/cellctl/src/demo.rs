//! `cellctl demo`: two regions on one machine, until Ctrl-C.

mod load;
mod stats;
mod tour;

use crate::cluster::{Cluster, ClusterConfig, Guest};
use anyhow::Context as _;
use clap::Args;
use load::Load;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

/// Round trip between the regions.
const RTT: Duration = Duration::from_millis(30);

/// Options of `cellctl demo`.
#[derive(Debug, Clone, Args)]
pub struct DemoArgs {
    /// How many cells, alternating between beijing and shanghai
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub cells: usize,
    /// Serve only; place no orders
    #[arg(long)]
    pub no_load: bool,
    /// Folder for databases, logs and secrets, kept at the end [default: a fresh one, removed at the end]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// First port: cell number i (from 0) gets the ten ports from PORT + 10 * i
    #[arg(long, value_name = "PORT", default_value_t = 7000)]
    pub port_base: u16,
    /// Send traces to this OTLP/gRPC endpoint, like http://127.0.0.1:4317
    #[arg(long, value_name = "URL")]
    pub otlp: Option<String>,
    /// A service of your own beside the shop: its descriptor set with imports, and where it runs in each cell; repeatable
    #[arg(long = "service", value_name = "FILE,CELL=IP:PORT,…")]
    pub services: Vec<Guest>,
    /// Folder with cell-router, cell-services and cellctl [default: where this program is]
    #[arg(long, value_name = "DIR", hide = true)]
    pub bin_dir: Option<PathBuf>,
}

/// Runs the demo until SIGINT, SIGTERM or SIGHUP, and takes everything down again.
///
/// # Errors
/// If it does not get ready, or if one of its processes ends by itself; all others are ended then, too.
pub async fn run(args: DemoArgs) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    let temporary = match args.data {
        Some(_) => None,
        None => Some(TempDir::with_prefix("cellmesh-demo-").context("making a temporary folder")?),
    };
    let data = match (&args.data, &temporary) {
        (Some(data), _) => data.clone(),
        (None, Some(temporary)) => temporary.path().to_owned(),
        (None, None) => unreachable!("without --data there is a temporary folder"),
    };
    let mut cluster = Cluster::prepare(&cluster_config(&args, data)?)?;
    let result = tokio::select! {
        result = serve(&mut cluster, &args) => result,
        () = signals.next() => {
            say("\nending");
            Ok(())
        }
    };
    let ended = tokio::select! {
        ended = cluster.shutdown() => ended,
        () = signals.next() => Err(anyhow::anyhow!("ended at once at a second signal; calls under way were cut")),
    };
    drop(cluster);
    let removed = temporary.map_or(Ok(()), |folder| folder.close().context("removing the temporary folder"));
    result.and(ended).and(removed)
}

fn cluster_config(args: &DemoArgs, data: PathBuf) -> anyhow::Result<ClusterConfig> {
    let bin_dir = match &args.bin_dir {
        Some(dir) => dir.clone(),
        None => {
            let program = std::env::current_exe().context("asking for the path of the running program")?;
            program.parent().context("the running program has no folder")?.to_owned()
        }
    };
    Ok(ClusterConfig {
        cells: args.cells,
        port_base: Some(args.port_base),
        otlp: args.otlp.clone(),
        rtt: RTT,
        guests: args.services.clone(),
        ..ClusterConfig::new(data, bin_dir)
    })
}

/// Starts all, shows the way around, and keeps the load up; ends only with an error.
async fn serve(cluster: &mut Cluster, args: &DemoArgs) -> anyhow::Result<()> {
    let started = Instant::now();
    cluster.launch().await?;
    let took = started.elapsed();
    let load = Load::prepare(&cluster.cells).await.context("the cells are ready but do not serve")?;
    say(&tour::text(cluster, args, load.shoppers(), load.skus(), took));
    if args.no_load {
        return Err(cluster.failure().await);
    }
    tokio::select! {
        error = cluster.failure() => Err(error),
        never = load.run(say) => match never {},
    }
}

/// Prints a line; that nobody reads it any more is no reason to fail.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// The signals that ask a process to end.
pub(crate) struct Signals {
    all: [Signal; 3],
}

impl Signals {
    pub fn listen() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("listening for signals");
        Ok(Self {
            all: [listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?, listen(SignalKind::hangup())?],
        })
    }

    /// Waits for one. Cancel safe.
    pub async fn next(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.all;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
