//! `docs/GUIDE.md`: the guide's rows with where each lives and what was measured, rendered from the stored results, so that
//! nobody types a figure.

use crate::{
    results::{Spread, stored},
    rows::{CaseResult, Headline, ROWS, Row, RowResult, WayResult, factor, ms},
};
use anyhow::Context as _;
use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

const HEAD: &str = "# The guide, row by row

Where the product uses each technique of the optimisation guide, and what it is worth here. `cargo lab ROW` measures a row: the
ways of doing one thing by turns in one run, on the real processes of two cells 30 ms apart. \"Before\" is a pooled client and an
honest loop of single calls through the router; calls are counted by the services' metrics. Each figure is the median of
the rounds, each ratio the median of the rounds' ratios with its 95 % interval.

This file is written by `cargo lab guide --write` from `lab/results/row-*.json`.

| row | technique | where it lives | command | measured: before → after | the guide |
|---|---|---|---|---|---|
";

/// Where it is kept.
fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/GUIDE.md")
}

/// Prints it, or writes it.
///
/// # Errors
/// If a stored result cannot be read, or the file not be written.
pub fn run(write: bool) -> anyhow::Result<()> {
    let text = render()?;
    if write {
        return fs::write(path(), text).context("writing docs/GUIDE.md");
    }
    print!("{text}");
    Ok(())
}

/// The file by the stored results.
///
/// # Errors
/// If a stored result cannot be read.
pub fn render() -> anyhow::Result<String> {
    let (mut text, mut notes) = (HEAD.to_owned(), "\n## How to read them\n".to_owned());
    for row in &ROWS {
        let result = stored::<RowResult>(&format!("row-{}", row.id))?;
        let lives: Vec<_> = row.lives.iter().map(|(file, what)| format!("[{file}](../{file}): {what}")).collect();
        let measured = result.as_ref().map_or_else(|| "not yet".to_owned(), |result| measured(row, result));
        let Row { id, what, guide, note, .. } = row;
        writeln!(text, "| {id} | {what} | {} | `cargo lab {id}` | {measured} | {guide} |", lives.join("<br>"))?;
        write!(notes, "- **{id}** {note}")?;
        if let Some(RowResult { provenance, rounds, millis, .. }) = result {
            write!(notes, " ({rounds} rounds of {millis} ms, {}, {})", provenance.commit, provenance.machine)?;
        }
        notes.push('\n');
    }
    Ok(text + &notes)
}

fn measured(row: &Row, result: &RowResult) -> String {
    let cases: Vec<String> = result.cases.iter().filter_map(|case| of_case(row, case)).collect();
    cases.join("<br>")
}

fn of_case(row: &Row, CaseResult { case, unit, callers, ways }: &CaseResult) -> Option<String> {
    let (before, after) = (ways.first()?, ways.last()?);
    let time =
        format!("{} → {} ms, {}", ms(before.p50_ms.median), ms(after.p50_ms.median), change(after.p50_vs_before));
    let rate = format!(
        "{:.0} → {:.0}/s, {}",
        before.per_second.median,
        after.per_second.median,
        factor(after.per_second_vs_before)
    );
    let figures = match row.headline {
        Headline::Latency if *callers == 1 => format!("**{time}**"),
        Headline::Latency => format!("**{time}**; {rate}"),
        Headline::Throughput => format!("**{rate}**; {time}"),
    };
    let calls = |way: &WayResult| format!("{:.1}", way.calls).trim_end_matches(".0").to_owned();
    let calls = format!("calls a {unit} {} → {}", calls(before), calls(after));
    let at_once = if *callers == 1 { String::new() } else { format!(", {callers} at once") };
    Some(format!("{case}{at_once}: {figures}; {calls}"))
}

/// By how much a time became less.
fn change(ratio: Spread) -> String {
    let percent = |ratio: f64| format!("{:+.0}", (ratio - 1.0) * 100.0).replace('-', "−");
    let [low, high] = ratio.interval.map(percent);
    format!("{} % [{low}..{high}]", percent(ratio.median))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guide_is_what_the_stored_results_say() {
        let (kept, now) = (fs::read_to_string(path()).unwrap(), render().unwrap());
        assert!(kept == now, "docs/GUIDE.md is of other results: run cargo lab guide --write");
    }

    #[test]
    fn every_row_lives_where_the_guide_says() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for (row, (file, _)) in ROWS.iter().flat_map(|row| row.lives.iter().map(move |at| (row.id, at))) {
            assert!(root.join(file).exists(), "row {row}: {file}");
        }
    }

    #[test]
    fn a_change_is_told_with_its_sign_and_interval() {
        let ratio = Spread::of(&[0.2, 0.25, 0.3]);
        assert_eq!(change(ratio), "−75 % [−80..−70]");
        assert_eq!(factor(Spread::of(&[12.0])), "×12 [12..12]");
    }
}
