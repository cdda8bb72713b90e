//! What came of a part, read from what its programs print.

use std::collections::BTreeMap;

/// Counts and remarks.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Outcome {
    pub passed: usize,
    pub failed: usize,
    /// Left to `cargo xtask soak`.
    pub ignored: usize,
    /// What failed, for the report.
    pub failures: Vec<String>,
    /// `skipped:` lines.
    pub skipped: Vec<String>,
    /// `figure:` lines.
    pub figures: Vec<String>,
}

impl Outcome {
    pub fn passed(count: usize) -> Self {
        Self { passed: count, ..Self::default() }
    }

    pub fn failed(what: &str, why: &str) -> Self {
        Self { failed: 1, failures: vec![format!("{what}: {why}")], ..Self::default() }
    }

    pub fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
        self.failures.extend(other.failures);
        self.skipped.extend(other.skipped);
        self.figures.extend(other.figures);
    }

    /// Reads the output of a test program called `name` that ended well or not.
    pub fn read(name: &str, output: &str, ended_well: bool) -> Self {
        let mut outcome = Self::default();
        let mut results = 0;
        for line in output.lines() {
            if let Some(counts) = line.strip_prefix("test result: ") {
                let counts = counts_of(counts);
                outcome.passed += counts.get("passed").copied().unwrap_or(0);
                outcome.failed += counts.get("failed").copied().unwrap_or(0);
                outcome.ignored += counts.get("ignored").copied().unwrap_or(0);
                results += 1;
            } else if let Some(figure) = line.strip_prefix("figure: ") {
                outcome.figures.push(figure.to_owned());
            } else if let Some(skipped) = line.strip_prefix("skipped: ") {
                outcome.skipped.push(format!("{skipped} ({name})"));
            } else if let Some(test) = line.strip_prefix("test ").and_then(|test| test.strip_suffix(" ... FAILED")) {
                outcome.failures.push(format!("{name}: {test}"));
            }
        }
        if !ended_well && outcome.failed == 0 {
            outcome.add(Self::failed(name, "ended with an error before all its tests were counted"));
        } else if results == 0 {
            // A test program without libtest passes by its exit code.
            outcome.passed += 1;
        }
        outcome
    }
}

/// `ok. 12 passed; 0 failed; 1 ignored; …` as numbers by name.
fn counts_of(text: &str) -> BTreeMap<&str, usize> {
    let pairs = text.split([';', '.']).filter_map(|part| part.trim().split_once(' '));
    pairs.filter_map(|(count, name)| Some((name, count.parse().ok()?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\n\
        running 4 tests\n\
        test a::one ... ok\n\
        test a::two ... FAILED\n\
        test a::three ... ignored\n\
        \n\
        successes:\n\
        \n\
        ---- a::one stdout ----\n\
        figure: kills N=200\n\
        skipped: everything with a broker, because there is none\n\
        \n\
        test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 7 filtered out; finished in 0.02s\n";

    #[test]
    fn counts_figures_and_skips_are_read_from_the_output() {
        let outcome = Outcome::read("it", OUTPUT, false);
        assert_eq!((outcome.passed, outcome.failed, outcome.ignored), (2, 1, 1));
        assert_eq!(outcome.failures, ["it: a::two"]);
        assert_eq!(outcome.figures, ["kills N=200"]);
        assert_eq!(outcome.skipped, ["everything with a broker, because there is none (it)"]);
    }

    #[test]
    fn a_program_that_died_is_a_failure_whatever_it_printed() {
        let outcome = Outcome::read("it", "running 4 tests\ntest a ... ok\n", false);
        assert_eq!(outcome.failed, 1);
        let after_a_first_result = "test result: ok. 2 passed; 0 failed; 0 ignored;\n";
        assert_eq!(Outcome::read("it", after_a_first_result, false).failed, 1);
    }

    #[test]
    fn several_results_in_one_output_are_added_up() {
        let line = "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s\n";
        let outcome = Outcome::read("docs", &line.repeat(3), true);
        assert_eq!((outcome.passed, outcome.failed, outcome.ignored), (9, 0, 3));
    }

    #[test]
    fn a_program_without_libtest_passes_by_its_exit_code() {
        assert_eq!(Outcome::read("plain", "all well\n", true), Outcome::passed(1));
    }
}
