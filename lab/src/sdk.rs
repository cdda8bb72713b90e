//! What the client SDK costs and spares: by pairs that run in turn on one thread, so that what else the machine does is in
//! both. In memory, where time is processor time of both ends; over loopback beside; direct against through-router with real
//! processes.

pub mod local;
mod pair;
pub mod server;

use crate::{
    results::{Provenance, store},
    rows::{self, CaseResult, Plan, World},
};
use anyhow::Context as _;
use pair::{Block, Pair, Pairs};
use serde::{Deserialize, Serialize};
use server::{Client, Transport};
use std::{process::Command, time::Duration};

/// How to measure.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Rounds; each runs every pair some times.
    #[arg(long, default_value_t = 20)]
    rounds: usize,
    /// Prints JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// Stores the result as lab/results/sdk.json.
    #[arg(long)]
    store: bool,
}

/// Allocations, counted by a program of its own: whoever counts them is the allocator.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Allocations {
    /// Of a local answer through the typed client, without those of its request.
    pub local_answer: f64,
    /// Of a call over an in-memory connection, both ends, by tonic's own channel.
    pub raw_call: f64,
    /// The same by the SDK.
    pub sdk_call: f64,
}

#[derive(Debug, Serialize)]
struct Sdk {
    provenance: Provenance,
    rounds: usize,
    note: &'static str,
    pairs: Vec<Pair>,
    allocations: Allocations,
    direct: Vec<CaseResult>,
}

const NOTE: &str = "Nanoseconds a call, client and server on one thread; \"added\" is the median of the rounds' differences with its \
95 % interval, \"times\" that of the quotients.";

/// How much is measured in a round.
#[derive(Clone, Copy)]
struct Size {
    /// How often each pair runs; the round's value is the median.
    repeats: usize,
    /// Calls of one block by a single caller.
    alone: usize,
    /// The same by many callers.
    many: usize,
}

const FULL: Size = Size { repeats: 5, alone: 400, many: 8192 };

/// Measures.
///
/// # Errors
/// If a part fails, or a binary is missing.
pub async fn run(args: &Args) -> anyhow::Result<()> {
    let rounds = args.rounds.max(1);
    let mut pairs = pairs(FULL).await?;
    pairs.run(rounds, FULL.repeats).await?;
    let allocations = allocations()?;
    let (mut world, shop) = World::start().await?;
    let plan = Plan { rounds, time: Duration::from_millis(500) };
    let direct = rows::direct(plan, &world, shop).await;
    world.stop().await?;
    let result = Sdk {
        provenance: Provenance::here(),
        rounds,
        note: NOTE,
        pairs: pairs.results(),
        allocations,
        direct: direct?,
    };
    if args.store {
        store("sdk", &result)?;
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&result)?);
    } else {
        print(&result);
    }
    Ok(())
}

/// Every pair, ready to run.
async fn pairs(Size { alone, many, .. }: Size) -> anyhow::Result<Pairs> {
    let mut pairs = Pairs::default();
    for users in [1, 1000] {
        let known = local::Known::new(users).await?;
        let what = if users == 1 { "local answer, 1 user" } else { "local answer, 1,000 users in turn" };
        let (asked, answered) = (Block::local(&known, false), Block::local(&known, true));
        pairs.add(what, "none", 1, "≤ 100 ns, 0 allocations", asked, answered);
    }
    for transport in [Transport::InMemory, Transport::Loopback] {
        let served = server::Served::start(transport).await?;
        let name = transport.name();
        let raw = served.raw().await?;
        let [plain, rungs] = [served.sdk(false).await?, served.sdk(true).await?];
        let block = |client: &Client, callers, calls| Block::calls(client.clone(), callers, calls);
        let goal = "≤ 1 µs over raw tonic";
        pairs.add("a call: raw tonic, SDK", name, 1, goal, block(&raw, 1, alone), block(&plain, 1, alone));
        pairs.add("32 callers: raw tonic, SDK", name, 32, goal, block(&raw, 32, many / 4), block(&plain, 32, many / 4));
        let goal = "≤ 2 µs at concurrency 1";
        let (off, on) = (block(&plain, 1, alone), block(&rungs, 1, alone));
        pairs.add("a call: SDK without, with single-flight and batcher", name, 1, goal, off, on);
        for callers in [64, 512] {
            let goal = "≥ 10× items/s, callers unchanged";
            let (raw, on) = (block(&raw, callers, many), block(&rungs, callers, many));
            pairs.add("many callers: raw tonic, SDK putting calls together", name, callers, goal, raw, on);
        }
        pairs.hold(served);
    }
    Ok(pairs)
}

/// Runs the program beside this one that counts allocations.
fn allocations() -> anyhow::Result<Allocations> {
    let program = std::env::current_exe()?.with_file_name("lab-allocations");
    let output = Command::new(&program).output().with_context(|| format!("running {}", program.display()))?;
    anyhow::ensure!(output.status.success(), "lab-allocations: {}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn print(result: &Sdk) {
    println!("{NOTE}\n{} · {} · {} rounds\n", result.provenance.machine, result.provenance.commit, result.rounds);
    println!(
        "{:<52}{:<11}{:>8}{:>10}{:>10}{:>26}{:>22}  goal",
        "pair", "transport", "callers", "first", "second", "added ns", "times"
    );
    for pair in &result.pairs {
        let [low, high] = pair.added_ns.interval;
        let added = format!("{:+.0} [{low:+.0}..{high:+.0}]", pair.added_ns.median);
        let [low, high] = pair.times.interval;
        let times = format!("{:.2} [{low:.2}..{high:.2}]", pair.times.median);
        println!(
            "{:<52}{:<11}{:>8}{:>10.0}{:>10.0}{added:>26}{times:>22}  {}",
            pair.what, pair.transport, pair.callers, pair.first_ns.median, pair.second_ns.median, pair.goal
        );
    }
    let Allocations { local_answer, raw_call, sdk_call } = result.allocations;
    println!(
        "\nallocations: local answer {local_answer:.2}; a call, both ends: raw tonic {raw_call:.1}, SDK {sdk_call:.1}\n"
    );
    for case in &result.direct {
        print!("{case}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_pair_runs_and_is_answered_as_it_should_be() {
        let size = Size { repeats: 1, alone: 2, many: 128 };
        let mut pairs = pairs(size).await.unwrap();
        pairs.run(1, size.repeats).await.unwrap();
        let results = pairs.results();
        assert_eq!(results.len(), 12);
        for Pair { what, first_ns, second_ns, .. } in results {
            assert!(first_ns.min > 0.0 && second_ns.min > 0.0, "{what}");
        }
    }
}
