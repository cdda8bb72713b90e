//! Figures with what they need to be believed: command, commit, machine, spread.

use anyhow::Context as _;
use serde::Serialize;
use std::{fs, path::Path, process::Command};

/// Median, least and greatest of several runs.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Spread {
    /// Median.
    pub median: f64,
    /// Least.
    pub min: f64,
    /// Greatest.
    pub max: f64,
}

impl Spread {
    /// Of at least one value.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |i: usize| sorted[i];
        let n = sorted.len();
        assert!(n > 0, "a spread of no values");
        Self { median: (at((n - 1) / 2) + at(n / 2)) / 2.0, min: at(0), max: at(n - 1) }
    }
}

/// Where and from what figures came.
#[derive(Clone, Debug, Serialize)]
pub struct Provenance {
    /// The command that made them.
    pub command: String,
    /// The commit, with `+` if the tree had changes.
    pub commit: String,
    /// Processor, cores, kernel.
    pub machine: String,
    /// Seconds since the Unix epoch.
    pub unix_time: u64,
}

impl Provenance {
    /// Of this process, here and now.
    #[must_use]
    pub fn here() -> Self {
        let line = |program: &str, args: &[&str]| {
            let output = Command::new(program).args(args).output().ok()?;
            Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        };
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model =
            cpuinfo.lines().find_map(|l| l.strip_prefix("model name")).unwrap_or("").trim_matches([':', ' ', '\t']);
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let kernel = line("uname", &["-r"]).unwrap_or_default();
        let changed = line("git", &["status", "--porcelain", "--untracked-files=no"]).is_some_and(|s| !s.is_empty());
        let commit = line("git", &["rev-parse", "--short=12", "HEAD"]).unwrap_or_default();
        let args: Vec<String> = std::env::args().skip(1).collect();
        Self {
            command: format!("cargo lab {}", args.join(" ")),
            commit: commit + if changed { "+" } else { "" },
            machine: format!("{model}, {cores} cores, Linux {kernel}"),
            unix_time: std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_secs()),
        }
    }
}

/// Stores a result as `lab/results/NAME.json`.
///
/// # Errors
/// If it cannot be written.
pub fn store<T: Serialize>(name: &str, result: &T) -> anyhow::Result<()> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("results");
    fs::create_dir_all(&dir)?;
    let path = dir.join(format!("{name}.json"));
    fs::write(&path, serde_json::to_string_pretty(result)? + "\n").with_context(|| format!("{}", path.display()))?;
    eprintln!("stored {}", path.display());
    Ok(())
}
