//! What is printed at the end.

use super::outcome::Outcome;
use std::fmt::Write as _;
use std::time::Duration;

/// Longest line of a list; a test's own output has the rest.
const LINE: usize = 140;

/// Parts in the order in which they ran.
#[derive(Debug, Default)]
pub(super) struct Report {
    rows: Vec<(&'static str, Duration, Outcome)>,
}

impl Report {
    pub fn add(&mut self, part: &'static str, took: Duration, outcome: Outcome) {
        self.rows.push((part, took, outcome));
    }

    /// The report, and whether all is well. Its last line is `N passed, N failed`; something skipped counts as failed
    /// unless that is allowed.
    pub fn finish(&self, allow_skip: bool) -> (String, bool) {
        let mut all = Outcome::default();
        let mut text = format!("\n{:<12} {:>9} {:>8} {:>8}\n", "part", "time", "passed", "failed");
        for (part, took, outcome) in &self.rows {
            let Outcome { passed, failed, .. } = outcome;
            let _ = writeln!(text, "{part:<12} {:>7.1} s {passed:>8} {failed:>8}", took.as_secs_f64());
            all.add(outcome.clone());
        }
        let total: Duration = self.rows.iter().map(|(_, took, _)| *took).sum();
        let _ = writeln!(text, "{:<12} {:>7.1} s\n", "together", total.as_secs_f64());
        list(&mut text, "figures", &all.figures);
        list(&mut text, "failed", &all.failures);
        list(&mut text, if allow_skip { "skipped" } else { "skipped, which is a failure" }, &all.skipped);
        if all.ignored > 0 {
            let _ = writeln!(text, "{} tests are left to `cargo xtask soak`", all.ignored);
        }
        let failed = all.failed + if allow_skip { 0 } else { all.skipped.len() };
        let _ = write!(text, "{} passed, {failed} failed", all.passed);
        (text, failed == 0)
    }
}

fn list(text: &mut String, title: &str, lines: &[String]) {
    if !lines.is_empty() {
        let shown: Vec<String> = lines.iter().map(|line| shorten(line)).collect();
        let _ = writeln!(text, "{title}:\n  {}\n", shown.join("\n  "));
    }
}

fn shorten(line: &str) -> String {
    match line.char_indices().nth(LINE) {
        Some((end, _)) => format!("{} …", &line[..end]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(skipped: &[&str]) -> Report {
        let mut report = Report::default();
        report.add("fmt", Duration::from_millis(1500), Outcome::passed(1));
        let skipped = skipped.iter().map(|text| (*text).to_owned()).collect();
        report.add("unit", Duration::from_secs(2), Outcome { passed: 7, ignored: 2, skipped, ..Outcome::default() });
        report
    }

    #[test]
    fn the_last_line_is_plain_counts() {
        let (text, well) = report(&[]).finish(false);
        assert_eq!(text.lines().last(), Some("8 passed, 0 failed"));
        assert!(well);
        assert!(text.contains("2 tests are left to `cargo xtask soak`"), "{text}");
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        assert_eq!(shorten("short"), "short");
        let cut = shorten(&"é".repeat(LINE + 1));
        assert_eq!(cut, format!("{} …", "é".repeat(LINE)));
    }

    #[test]
    fn something_skipped_fails_the_run_unless_allowed() {
        let (text, well) = report(&["the broker"]).finish(false);
        assert_eq!((text.lines().last(), well), (Some("8 passed, 1 failed"), false));
        let (text, well) = report(&["the broker"]).finish(true);
        assert_eq!((text.lines().last(), well), (Some("8 passed, 0 failed"), true));
        assert!(text.contains("the broker"), "it is named even so: {text}");
    }
}
