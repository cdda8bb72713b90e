//! What came out of a row, as it is stored and printed.

use super::{Plan, Row};
use crate::results::{Provenance, Spread};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A measured row.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RowResult {
    /// Where and from what it came.
    pub provenance: Provenance,
    /// Its number in the guide.
    pub row: String,
    /// The technique.
    pub what: String,
    /// What the guide promises.
    pub guide: String,
    /// What one should know to read it.
    pub note: String,
    /// Rounds that count.
    pub rounds: usize,
    /// Milliseconds of each run.
    pub millis: u64,
    /// What was measured.
    pub cases: Vec<CaseResult>,
}

/// A measured case.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CaseResult {
    /// The situation.
    pub case: String,
    /// What was done.
    pub unit: String,
    /// How many did it at once.
    pub callers: usize,
    /// The ways, "before" first, "after" last.
    pub ways: Vec<WayResult>,
}

/// A measured way. All is for one unit, spreads are those of the rounds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WayResult {
    /// Its name.
    pub way: String,
    /// Time, median of each run, in milliseconds.
    pub p50_ms: Spread,
    /// The same of the slowest hundredth.
    pub p99_ms: Spread,
    /// Units per second, of all callers.
    pub per_second: Spread,
    /// Calls that services served, by their metrics; streams, and deliveries of events, apart.
    pub calls: f64,
    /// Passes through routers, by their metrics: a call that two routers passed on counts twice.
    pub router_passes: f64,
    /// Processor time of the caller, in microseconds.
    pub caller_cpu_us: Spread,
    /// The same of all routers, until what followed from the calls was over too.
    pub routers_cpu_us: Spread,
    /// The same of all services, deliveries of events among it.
    pub services_cpu_us: Spread,
    /// Time as a part of that before, round by round.
    pub p50_vs_before: Spread,
    /// Units per second as a multiple of those before, round by round.
    pub per_second_vs_before: Spread,
}

impl RowResult {
    pub(super) fn of(row: &Row, plan: Plan, provenance: Provenance, cases: Vec<CaseResult>) -> Self {
        let text = str::to_owned;
        Self {
            provenance,
            row: text(row.id),
            what: text(row.what),
            guide: text(row.guide),
            note: text(row.note),
            rounds: plan.rounds,
            millis: u64::try_from(plan.time.as_millis()).unwrap_or(u64::MAX),
            cases,
        }
    }
}

impl fmt::Display for RowResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { provenance, row, what, guide, note, rounds, millis, cases } = self;
        writeln!(f, "{row} {what}; the guide: {guide}\n{note}")?;
        writeln!(f, "{} · {} · {rounds} rounds of {millis} ms\n", provenance.machine, provenance.commit)?;
        cases.iter().try_for_each(|case| write!(f, "{case}"))
    }
}

impl fmt::Display for CaseResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { case, unit, callers, ways } = self;
        writeln!(f, "{case} ({callers} at once, per {unit})")?;
        let titles = ["p50 ms [quartiles]", "p99 ms", "per s", "time", "rate", "calls", "passes", "CPU us c/r/s"];
        let [p50, p99, rate, time, more, calls, passes, cpu] = titles;
        writeln!(f, "  {:<34}{p50:>26}{p99:>10}{rate:>10}{time:>24}{more:>24}{calls:>7}{passes:>8}{cpu:>22}", "way")?;
        for way in ways {
            let [low, high] = way.p50_ms.quartiles;
            let p50 = format!("{} [{}..{}]", ms(way.p50_ms.median), ms(low), ms(high));
            let cpu = [way.caller_cpu_us, way.routers_cpu_us, way.services_cpu_us].map(|cpu| cpu.median);
            writeln!(
                f,
                "  {:<34}{p50:>26}{:>10}{:>10.0}{:>24}{:>24}{:>7.1}{:>8.1}{:>22}",
                way.way,
                ms(way.p99_ms.median),
                way.per_second.median,
                factor(way.p50_vs_before),
                factor(way.per_second_vs_before),
                way.calls,
                way.router_passes,
                format!("{:.1}/{:.1}/{:.1}", cpu[0], cpu[1], cpu[2])
            )?;
        }
        Ok(())
    }
}

/// Milliseconds with as many digits as they are worth.
pub(crate) fn ms(value: f64) -> String {
    match value {
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 1.0 => format!("{v:.1}"),
        v if v >= 0.01 => format!("{v:.3}"),
        v => format!("{v:.5}"),
    }
}

/// A ratio with the interval of its median.
pub(crate) fn factor(ratio: Spread) -> String {
    let [low, high] = ratio.interval;
    let digits = if ratio.median < 10.0 { 2 } else { 0 };
    format!("×{:.digits$} [{low:.digits$}..{high:.digits$}]", ratio.median)
}
