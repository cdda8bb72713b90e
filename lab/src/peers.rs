//! Router against its peers: CPU per call, side by side in one run. The echo and the load share core 0, each proxy in turn
//! runs alone on core 1; the order is round robin, so that a machine whose speed drifts drifts for all.

use crate::{
    processes::cpu_ns,
    results::{Provenance, Spread, store},
};
use anyhow::{Context as _, bail};
use load::Report;
use serde::Serialize;
use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

pub mod backend;
pub mod load;
pub mod map;
pub mod plain;
pub mod proxies;

use proxies::{Proxy, Workdir};

/// What to compare.
#[derive(clap::Args)]
pub struct Args {
    /// Rounds; each runs every proxy once in every shape.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Calls per run.
    #[arg(long, default_value_t = 200_000)]
    calls: usize,
    /// Shapes of the load: connections x streams.
    #[arg(long, default_values_t = ["16x32".to_owned(), "64x1".to_owned()])]
    shape: Vec<String>,
    /// Prints JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// Stores the result under lab/results/.
    #[arg(long)]
    store: bool,
    /// Only these proxies.
    #[arg(long, value_enum)]
    only: Vec<Proxy>,
    /// The `cell-router` binary; by default the one beside this program.
    #[arg(long)]
    router: Option<PathBuf>,
}

/// One proxy in one shape.
#[derive(Debug, Serialize)]
struct Row {
    proxy: Proxy,
    shape: String,
    /// User and system time of the proxy for each call, in microseconds.
    cpu_us: Spread,
    calls_per_second: Spread,
    failed: usize,
    /// CPU relative to Envoy and to plain hyper, median of the rounds' ratios.
    vs_envoy: Option<Spread>,
    vs_plain: Option<Spread>,
}

#[derive(Debug, Serialize)]
struct Peers {
    provenance: Provenance,
    rounds: usize,
    calls: usize,
    message_bytes: usize,
    note: &'static str,
    rows: Vec<Row>,
}

const NOTE: &str = "Each call has its own user, traceparent and deadline. The router decides by user key with the demo's whole configuration; \
Envoy decides by a header match, HAProxy and plain hyper only forward. One proxy thread each.";

/// A child that is killed when dropped.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a program on one core, its output in a file.
fn spawn_on(core: usize, program: &Path, args: &[String], log: &Path) -> anyhow::Result<Killed> {
    let log = fs::File::create(log)?;
    let child = Command::new("taskset")
        .args(["-c", &core.to_string()])
        .arg(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("starting {} under taskset (Debian: util-linux)", program.display()))?;
    Ok(Killed(child))
}

async fn wait_for(addr: SocketAddr, child: &mut Killed, log: &Path) -> anyhow::Result<()> {
    for _ in 0..200 {
        if tokio::net::TcpStream::connect(addr).await.is_ok() {
            return Ok(());
        }
        if let Some(status) = child.0.try_wait()? {
            bail!("ended with {status}: {}", fs::read_to_string(log).unwrap_or_default());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    bail!("nothing listens on {addr}: {}", fs::read_to_string(log).unwrap_or_default())
}

struct Shape {
    name: String,
    connections: usize,
    streams: usize,
}

impl Shape {
    fn parse(text: &str) -> anyhow::Result<Self> {
        let (c, m) = text.split_once('x').with_context(|| format!("shape \"{text}\" is not CONNECTIONSxSTREAMS"))?;
        Ok(Self { name: text.to_owned(), connections: c.parse()?, streams: m.parse()? })
    }
}

/// One run: CPU microseconds per call and the load's report.
async fn measure(work: &Workdir, proxy: Proxy, shape: &Shape, calls: usize) -> anyhow::Result<(f64, Report)> {
    let log = work.dir.path().join(format!("{proxy:?}.log"));
    let (program, args) = work.command(proxy)?;
    let mut child = spawn_on(1, &program, &args, &log)?;
    let addr = work.addr(proxy);
    wait_for(addr, &mut child, &log).await.with_context(|| format!("{proxy:?}"))?;
    tokio::time::sleep(Duration::from_millis(700)).await;
    let me = std::env::current_exe()?;
    let key = if proxy == Proxy::RouterKeyInMessage { "message" } else { "metadata" };
    let run = |calls: usize| {
        let output = Command::new("taskset")
            .args(["-c", "0"])
            .arg(&me)
            .args(["load", &addr.to_string(), "--key", key, "--calls", &calls.to_string()])
            .args(["--connections", &shape.connections.to_string(), "--streams", &shape.streams.to_string()])
            .output()?;
        anyhow::ensure!(output.status.success(), "the load failed: {}", String::from_utf8_lossy(&output.stderr));
        Ok(serde_json::from_slice::<Report>(&output.stdout)?)
    };
    run(2000).with_context(|| format!("warming up {proxy:?}"))?;
    let before = cpu_ns(child.0.id())?;
    let report = run(calls)?;
    let spent = cpu_ns(child.0.id())? - before;
    Ok((spent as f64 / 1e3 / calls as f64, report))
}

/// Runs the comparison.
///
/// # Errors
/// If a peer is missing or fails.
pub async fn run(args: &Args) -> anyhow::Result<()> {
    anyhow::ensure!(std::thread::available_parallelism()?.get() >= 2, "comparing needs two cores");
    let shapes = args.shape.iter().map(|s| Shape::parse(s)).collect::<anyhow::Result<Vec<_>>>()?;
    let chosen: Vec<Proxy> = Proxy::ALL.into_iter().filter(|p| args.only.is_empty() || args.only.contains(p)).collect();
    let work = Workdir::new(args.router.clone())?;
    let me = std::env::current_exe()?;
    let log = work.dir.path().join("backend.log");
    let mut echo = spawn_on(0, &me, &["backend".into(), work.backend.to_string()], &log)?;
    wait_for(work.backend, &mut echo, &log).await?;

    let mut runs: Vec<Vec<Vec<(f64, Report)>>> = vec![vec![Vec::new(); chosen.len()]; shapes.len()];
    for round in 0..args.rounds {
        for (s, shape) in shapes.iter().enumerate() {
            for (p, proxy) in chosen.iter().enumerate() {
                let run = measure(&work, *proxy, shape, args.calls).await?;
                eprintln!(
                    "round {} {:>6} {:<20} {:>7.2} us/call {:?}",
                    round + 1,
                    shape.name,
                    proxy.name(),
                    run.0,
                    run.1
                );
                runs[s][p].push(run);
            }
        }
    }

    let mut rows = Vec::new();
    for (s, shape) in shapes.iter().enumerate() {
        let cpu = |p: usize| runs[s][p].iter().map(|r| r.0).collect::<Vec<_>>();
        let against = |p: usize, other: Proxy| {
            let o = chosen.iter().position(|c| *c == other)?;
            let ratios: Vec<f64> = cpu(p).iter().zip(cpu(o)).map(|(a, b)| a / b).collect();
            Some(Spread::of(&ratios))
        };
        for (p, proxy) in chosen.iter().enumerate() {
            let rates: Vec<f64> = runs[s][p].iter().map(|r| r.1.answered as f64 / r.1.seconds).collect();
            rows.push(Row {
                proxy: *proxy,
                shape: shape.name.clone(),
                cpu_us: Spread::of(&cpu(p)),
                calls_per_second: Spread::of(&rates),
                failed: runs[s][p].iter().map(|r| r.1.failed).sum(),
                vs_envoy: against(p, Proxy::Envoy),
                vs_plain: against(p, Proxy::Plain),
            });
        }
    }
    let provenance = Provenance::here();
    let result = Peers { provenance, rounds: args.rounds, calls: args.calls, message_bytes: 100, note: NOTE, rows };
    if args.store {
        store("peers", &result)?;
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&result)?);
    } else {
        print(&result);
    }
    Ok(())
}

fn print(result: &Peers) {
    println!("{}\n{} · {}\n", result.note, result.provenance.machine, result.provenance.commit);
    println!(
        "{:<8}{:<22}{:>24}{:>12}{:>10}{:>10}{:>8}",
        "shape", "proxy", "CPU us/call [min..max]", "calls/s", "/envoy", "/plain", "failed"
    );
    for row in &result.rows {
        let cpu = format!("{:.2} [{:.2}..{:.2}]", row.cpu_us.median, row.cpu_us.min, row.cpu_us.max);
        let ratio = |r: Option<Spread>| r.map_or("-".to_owned(), |r| format!("{:.2}", r.median));
        println!(
            "{:<8}{:<22}{:>24}{:>12.0}{:>10}{:>10}{:>8}",
            row.shape,
            row.proxy.name(),
            cpu,
            row.calls_per_second.median,
            ratio(row.vs_envoy),
            ratio(row.vs_plain),
            row.failed
        );
    }
}
