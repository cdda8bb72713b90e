//! Runs the ways of a case by turns, so that a machine whose speed drifts drifts for all of them, and looks at each from
//! outside: time by its callers' clock, calls by the servers' metrics, processor time by the kernel's account.

use super::{
    Case, Turn, Way, World,
    report::{CaseResult, WayResult},
};
use crate::results::Spread;
use anyhow::Context as _;
use std::{
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

/// How long to measure.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Rounds that count; one more warms everything up.
    pub rounds: usize,
    /// Time of each run. Every caller does its thing once at least.
    pub time: Duration,
}

/// A caller that needs no call never waits: it lets the others have their turn after so many times.
const YIELD_EVERY: usize = 256;

/// Turns of this process.
static TURNS: AtomicUsize = AtomicUsize::new(0);

/// What one run showed.
struct Run {
    p50_ms: f64,
    p99_ms: f64,
    per_second: f64,
    calls: f64,
    passes: f64,
    cpu_us: [f64; 3],
}

/// Runs a case.
///
/// # Errors
/// If a call fails, or answers what it should not; the error names case and way.
pub(super) async fn run(case: &Case, plan: Plan, world: &World) -> anyhow::Result<CaseResult> {
    let mut runs: Vec<Vec<Run>> = case.ways.iter().map(|_| Vec::with_capacity(plan.rounds)).collect();
    for round in 0..=plan.rounds {
        for turn in 0..case.ways.len() {
            // Each way is first about equally often.
            let w = (round + turn) % case.ways.len();
            let way = &case.ways[w];
            let time = if round == 0 { plan.time / 4 } else { plan.time };
            let run = once(case, way, time, world).await;
            let run = run.with_context(|| format!("case \"{}\", way \"{}\"", case.name, way.name))?;
            if round > 0 {
                eprintln!(
                    "round {round:>2} {}, {}: {:.3} ms, {:.0}/s, {:.1} calls",
                    case.name, way.name, run.p50_ms, run.per_second, run.calls
                );
                runs[w].push(run);
            }
        }
    }
    let of = |w: usize, what: fn(&Run) -> f64| runs[w].iter().map(what).collect::<Vec<_>>();
    let spread = |w: usize, what: fn(&Run) -> f64| Spread::of(&of(w, what));
    let against = |w: usize, what: fn(&Run) -> f64| Spread::of_ratios(&of(w, what), &of(0, what));
    let ways = case.ways.iter().enumerate().map(|(w, way)| WayResult {
        way: way.name.to_owned(),
        p50_ms: spread(w, |run| run.p50_ms),
        p99_ms: spread(w, |run| run.p99_ms),
        per_second: spread(w, |run| run.per_second),
        calls: spread(w, |run| run.calls).median,
        router_passes: spread(w, |run| run.passes).median,
        caller_cpu_us: spread(w, |run| run.cpu_us[0]),
        routers_cpu_us: spread(w, |run| run.cpu_us[1]),
        services_cpu_us: spread(w, |run| run.cpu_us[2]),
        p50_vs_before: against(w, |run| run.p50_ms),
        per_second_vs_before: against(w, |run| run.per_second),
    });
    Ok(CaseResult {
        case: case.name.to_owned(),
        unit: case.unit.to_owned(),
        callers: case.callers,
        ways: ways.collect(),
    })
}

async fn once(case: &Case, way: &Way, time: Duration, world: &World) -> anyhow::Result<Run> {
    // Metrics are read outside of what counts as spent.
    let (calls, cpu) = (world.calls().await?, world.cpu_ns()?);
    let started = Instant::now();
    let mut callers = JoinSet::new();
    for _ in 0..case.callers {
        let act = way.act.clone();
        callers.spawn(async move {
            let mut took = Vec::new();
            while took.is_empty() || started.elapsed() < time {
                let began = Instant::now();
                act(Turn { n: TURNS.fetch_add(1, Relaxed) }).await?;
                took.push(began.elapsed());
                if took.len() % YIELD_EVERY == 0 {
                    tokio::task::yield_now().await;
                }
            }
            anyhow::Ok(took)
        });
    }
    let mut took = Vec::new();
    while let Some(caller) = callers.join_next().await {
        took.extend(caller??);
    }
    let seconds = started.elapsed().as_secs_f64();
    let caller = world.cpu_ns()?[0];
    // The way pays for what follows from its calls, not the next one.
    world.settle().await?;
    let (cpu_after, calls_after) = (world.cpu_ns()?, world.calls().await?);
    let cpu_after = [caller, cpu_after[1], cpu_after[2]];
    took.sort_unstable();
    let ms = |part: f64| took[((took.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e3;
    let units = took.len() as f64;
    Ok(Run {
        p50_ms: ms(0.5),
        p99_ms: ms(0.99),
        per_second: units / seconds,
        calls: (calls_after[0] - calls[0]) / units,
        passes: (calls_after[1] - calls[1]) / units,
        // Threads that ended meanwhile took their account with them.
        cpu_us: std::array::from_fn(|at| cpu_after[at].saturating_sub(cpu[at]) as f64 / 1e3 / units),
    })
}
