//! PlaceOrder beside the same statements in a bare sqlx loop: what the fence's machinery, the detached task and gRPC cost.
//! On disk, `synchronous = FULL`; the syncs of each way are counted by strace in a pass of its own.

use crate::{
    results::{Provenance, Spread, store},
    trade_db::TradeDb,
};
use anyhow::Context as _;
use serde::Serialize;
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

mod bare;
mod grpc;
mod syncs;

/// How to measure.
#[derive(clap::Args)]
pub struct Args {
    /// Rounds; each runs every way once at every concurrency.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Seconds of each run.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Callers at once.
    #[arg(long, default_values_t = [1, 32])]
    concurrency: Vec<usize>,
    /// Prints JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// Stores the result under lab/results/.
    #[arg(long)]
    store: bool,
}

/// A way to place an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Way {
    /// The statements in a loop over one sqlx connection.
    Bare,
    /// trade's transaction through `storage`.
    Store,
    /// PlaceOrder at the service's own port.
    Grpc,
    /// PlaceOrder through the router.
    Router,
}

const WAYS: [Way; 4] = [Way::Bare, Way::Store, Way::Grpc, Way::Router];

#[derive(Debug, Serialize)]
struct Row {
    way: Way,
    concurrency: usize,
    orders_per_second: Spread,
    vs_bare: Spread,
    /// fsync and fdatasync calls for each order; none if strace is not installed.
    syncs_per_order: Option<f64>,
}

#[derive(Debug, Serialize)]
struct PlaceOrder {
    provenance: Provenance,
    rounds: usize,
    seconds: u64,
    note: &'static str,
    rows: Vec<Row>,
}

const NOTE: &str = "One product per order, 64 users, SQLite WAL with synchronous = FULL on disk; bare: one connection behind a \
fair mutex, prepared statements; grpc and router: a real cell-services and cell-router, their caller on the same two cores.";

/// Something that places the n-th order.
pub(crate) trait Place: Clone + Send + Sync + 'static {
    /// Places one order.
    fn place(&self, caller: usize, n: usize) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// trade's transaction through `storage`, as the gRPC handler runs it.
#[derive(Clone)]
struct Store(Arc<TradeDb>);

impl Place for Store {
    async fn place(&self, _: usize, n: usize) -> anyhow::Result<()> {
        let at = &self.0;
        let placing = at.placing(&at.users[n % at.users.len()], n)?;
        let user = placing.user.clone();
        let request = shop_proto::trade_v1::PlaceOrderRequest { request_id: format!("r-{n}"), ..Default::default() };
        let key = storage::IdempotencyKey::of("lab", &request.request_id, &request)?;
        let fence = at.fence(&user);
        let placed = at.db.idempotent(&fence, key, move |tx| {
            Box::pin(async move {
                let order = trade::store::place_order(tx, &placing).await?;
                Ok(shop_proto::trade_v1::PlaceOrderResponse { order: Some((&order).into()) })
            })
        });
        placed.await.map(drop).map_err(|error| anyhow::anyhow!("{error:?}"))
    }
}

/// Orders per second of `concurrency` callers over some time, or until `limit` orders.
async fn drive<P: Place>(
    at: &P,
    concurrency: usize,
    time: Duration,
    limit: usize,
    serial: &Arc<AtomicUsize>,
) -> anyhow::Result<(usize, f64)> {
    let (start, begun) = (Instant::now(), Arc::new(AtomicUsize::new(0)));
    let mut callers = JoinSet::new();
    for caller in 0..concurrency {
        let (at, serial, begun) = (at.clone(), serial.clone(), begun.clone());
        callers.spawn(async move {
            let mut done = 0;
            while start.elapsed() < time && begun.fetch_add(1, Ordering::Relaxed) < limit {
                at.place(caller, serial.fetch_add(1, Ordering::Relaxed)).await?;
                done += 1;
            }
            anyhow::Ok(done)
        });
    }
    let mut done = 0;
    while let Some(caller) = callers.join_next().await {
        done += caller??;
    }
    Ok((done, done as f64 / start.elapsed().as_secs_f64()))
}

/// Measures.
///
/// # Errors
/// If a part fails or the binaries are missing.
pub async fn run(args: &Args) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let open = async |name: &str| TradeDb::create(&dir.path().join(name), 64).await.context("making a database");
    let bare = bare::Bare::open(&open("bare.db").await?, &dir.path().join("bare.db")).await?;
    let store_way = Store(Arc::new(open("store.db").await?));
    let mesh = grpc::Mesh::start(&dir.path().join("mesh")).await?;
    let (service, router) = (mesh.service().await?, mesh.router().await?);
    let serial = Arc::new(AtomicUsize::new(0));

    let mut rates = vec![vec![Vec::new(); WAYS.len()]; args.concurrency.len()];
    let time = Duration::from_secs(args.seconds);
    for round in 0..=args.rounds {
        for (c, concurrency) in args.concurrency.iter().copied().enumerate() {
            for (w, way) in WAYS.into_iter().enumerate() {
                let time = if round == 0 { time / 4 } else { time };
                let all = usize::MAX;
                let (_, rate) = match way {
                    Way::Bare => drive(&bare, concurrency, time, all, &serial).await?,
                    Way::Store => drive(&store_way, concurrency, time, all, &serial).await?,
                    Way::Grpc => drive(&service, concurrency, time, all, &serial).await?,
                    Way::Router => drive(&router, concurrency, time, all, &serial).await?,
                };
                if round > 0 {
                    eprintln!("round {round} concurrency {concurrency:>2} {way:?}: {rate:.0} orders/s");
                    rates[c][w].push(rate);
                }
            }
        }
    }

    let mut rows = Vec::new();
    for (c, concurrency) in args.concurrency.iter().copied().enumerate() {
        for (w, way) in WAYS.into_iter().enumerate() {
            let (me, services) = (std::process::id(), mesh.services_pid());
            let some = Duration::from_secs(20);
            let syncs = match way {
                Way::Bare => syncs::count(me, drive(&bare, concurrency, some, 200, &serial)).await?,
                Way::Store => syncs::count(me, drive(&store_way, concurrency, some, 200, &serial)).await?,
                Way::Grpc => syncs::count(services, drive(&service, concurrency, some, 200, &serial)).await?,
                Way::Router => syncs::count(services, drive(&router, concurrency, some, 200, &serial)).await?,
            };
            let ratios: Vec<f64> = rates[c][w].iter().zip(&rates[c][0]).map(|(a, b)| a / b).collect();
            rows.push(Row {
                way,
                concurrency,
                orders_per_second: Spread::of(&rates[c][w]),
                vs_bare: Spread::of(&ratios),
                syncs_per_order: syncs,
            });
        }
    }
    mesh.stop().await?;
    let result =
        PlaceOrder { provenance: Provenance::here(), rounds: args.rounds, seconds: args.seconds, note: NOTE, rows };
    if args.store {
        store("place-order", &result)?;
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&result)?);
        return Ok(());
    }
    println!("{NOTE}\n{} · {}\n", result.provenance.machine, result.provenance.commit);
    println!("{:<12}{:<10}{:>28}{:>22}{:>14}", "concurrency", "way", "orders/s [min..max]", "vs bare", "syncs/order");
    for row in &result.rows {
        let spread = |s: Spread, d: usize| format!("{:.d$} [{:.d$}..{:.d$}]", s.median, s.min, s.max);
        let syncs = row.syncs_per_order.map_or("-".to_owned(), |s| format!("{s:.2}"));
        let way = format!("{:?}", row.way).to_lowercase();
        let (rate, ratio) = (spread(row.orders_per_second, 0), spread(row.vs_bare, 2));
        println!("{:<12}{:<10}{:>28}{:>22}{:>14}", row.concurrency, way, rate, ratio, syncs);
    }
    Ok(())
}

/// Whether a program can be started.
pub(crate) fn installed(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| Path::new(&dir).join(program).exists()))
}
