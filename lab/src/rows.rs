//! The guide's rows: what a technique is worth, before and after in one run, on the real components.
//!
//! Each row has cases, each case has ways of doing one thing, the first of which is what a sane beginner writes: a pooled
//! client and an honest loop of single calls through the router. One harness runs them all.

mod batch;
mod client_tool;
mod fewer_layers;
mod harness;
mod loop_loader;
mod merged_service;
mod no_middle;
mod no_repeats;
mod page_batch;
mod parallel;
mod product_page;
mod report;
mod shop;

pub use harness::Plan;
pub use report::{CaseResult, RowResult, WayResult};
pub(crate) use report::{factor, ms};
pub use shop::{Home, Pool, Sdk, Shop, World};

use crate::results::{Provenance, store};
use clap::Parser;
use futures_util::future::{BoxFuture, LocalBoxFuture};
use std::{sync::Arc, time::Duration};

/// Every row that can be measured, in the guide's order.
pub const ROWS: [Row; 10] = [
    product_page::ROW,
    merged_service::ROW,
    no_middle::ROW,
    client_tool::ROW,
    batch::ROW,
    parallel::ROW,
    loop_loader::ROW,
    fewer_layers::ROW,
    page_batch::ROW,
    no_repeats::ROW,
];

/// A row of the guide.
#[derive(Clone, Copy)]
pub struct Row {
    /// Its number in the guide.
    pub id: &'static str,
    /// The technique.
    pub what: &'static str,
    /// What the guide promises, in its words.
    pub guide: &'static str,
    /// Where the product uses it: files, with what to look for there.
    pub lives: &'static [(&'static str, &'static str)],
    /// What one should know to read the figures.
    pub note: &'static str,
    /// What the figures' headline is.
    pub headline: Headline,
    /// Its cases, on a running mesh with users and products in it.
    pub cases: fn(Shop) -> LocalBoxFuture<'static, anyhow::Result<Vec<Case>>>,
}

/// What the guide speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Headline {
    /// How long one thing takes.
    Latency,
    /// How many things are done.
    Throughput,
}

/// One situation in which a technique is used.
pub struct Case {
    /// The situation.
    pub name: &'static str,
    /// What is done once: `page`, `order`.
    pub unit: &'static str,
    /// How many do it at once.
    pub callers: usize,
    /// Ways to do it, "before" first, "after" last.
    pub ways: Vec<Way>,
}

/// A way to do a thing.
#[derive(Clone)]
pub struct Way {
    /// Its name.
    pub name: &'static str,
    act: Act,
}

/// Does it once.
type Act = Arc<dyn Fn(Turn) -> BoxFuture<'static, anyhow::Result<()>> + Send + Sync>;

/// Which time it is done.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    /// Different in every turn of a process.
    pub n: usize,
}

impl Way {
    /// A way that `act` goes, each time with a clone of `context`. It fails if the answer is not what it should be.
    fn new<C, F, R>(name: &'static str, context: &C, act: F) -> Self
    where
        C: Clone + Send + Sync + 'static,
        F: Fn(C, Turn) -> R + Send + Sync + 'static,
        R: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let context = context.clone();
        Self { name, act: Arc::new(move |turn| Box::pin(act(context.clone(), turn))) }
    }
}

/// `cargo lab ROW`.
#[derive(Debug, Parser)]
#[command(name = "cargo lab ROW")]
pub struct Args {
    /// Rounds; each runs every way of every case once.
    #[arg(long, default_value_t = 20)]
    rounds: usize,
    /// Milliseconds of each run.
    #[arg(long, default_value_t = 1000)]
    millis: u64,
    /// Prints JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// Stores the result as lab/results/row-ID.json.
    #[arg(long)]
    store: bool,
}

/// Measures the row that the first word names; the others are [`Args`].
///
/// # Errors
/// If there is no such row, an option is wrong, or a part fails.
pub async fn run(words: &[String]) -> anyhow::Result<()> {
    let (id, options) = words.split_first().map_or(("", words), |(id, options)| (id.as_str(), options));
    let Some(row) = ROWS.iter().find(|row| row.id == id) else {
        let ids: Vec<_> = ROWS.iter().map(|row| row.id).collect();
        anyhow::bail!("there is no row \"{id}\", there are {}", ids.join(", "));
    };
    let args = Args::try_parse_from([&["ROW".to_owned()], options].concat()).unwrap_or_else(|error| error.exit());
    let plan = Plan { rounds: args.rounds.max(1), time: Duration::from_millis(args.millis) };
    let (mut world, shop) = World::start().await?;
    let cases = measure(row, plan, &world, shop).await;
    let stopped = world.stop().await;
    let result = RowResult::of(row, plan, Provenance::here(), cases?);
    stopped?;
    if args.store {
        store(&format!("row-{id}"), &result)?;
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&result)?);
    } else {
        print!("{result}");
    }
    Ok(())
}

/// Measures a row on a running mesh.
///
/// # Errors
/// If a call fails, or answers what it should not.
pub async fn measure(row: &Row, plan: Plan, world: &World, shop: Shop) -> anyhow::Result<Vec<CaseResult>> {
    let mut results = Vec::new();
    for case in (row.cases)(shop).await? {
        results.push(harness::run(&case, plan, world).await?);
    }
    Ok(results)
}

/// Measures direct calls against calls through the router: two cases of row 2.4.
///
/// # Errors
/// If a call fails, or answers what it should not.
pub(crate) async fn direct(plan: Plan, world: &World, shop: Shop) -> anyhow::Result<Vec<CaseResult>> {
    let mut results = Vec::new();
    for case in
        no_middle::cases(&shop).iter().filter(|case| [no_middle::NEAR, no_middle::NEAR_BUSY].contains(&case.name))
    {
        results.push(harness::run(case, plan, world).await?);
    }
    Ok(results)
}

/// Lists the rows.
pub fn list() {
    for Row { id, what, guide, .. } in ROWS {
        println!("{id:<5}{what:<58}{guide}");
    }
}
