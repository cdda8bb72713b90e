//! Figures with what they need to be believed: command, commit, machine, spread.

use anyhow::Context as _;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// How the values of several rounds lie.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Median.
    pub median: f64,
    /// First and third quartile.
    pub quartiles: [f64; 2],
    /// Where the median of all rounds that could be run lies, with 95 % confidence; whatever their distribution.
    pub interval: [f64; 2],
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
        let outside = outside(n);
        Self {
            median: (at((n - 1) / 2) + at(n / 2)) / 2.0,
            quartiles: [at((n - 1) / 4), at(n - 1 - (n - 1) / 4)],
            interval: [at(outside), at(n - 1 - outside)],
            min: at(0),
            max: at(n - 1),
        }
    }

    /// Of the quotients, round by round.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn of_ratios(values: &[f64], before: &[f64]) -> Self {
        let ratios: Vec<f64> = values.iter().zip(before).map(|(value, before)| value / before).collect();
        Self::of(&ratios)
    }
}

/// How many of `n` sorted values lie outside of the interval of their median on each side: the sign test's, by the
/// binomial distribution. With less than six values the interval holds them all, and less confidence.
fn outside(n: usize) -> usize {
    let (mut chance, mut sum) = (0.5_f64.powi(i32::try_from(n).unwrap_or(i32::MAX)), 0.0);
    for k in 0..n / 2 {
        sum += chance;
        if sum > 0.025 {
            return k.saturating_sub(1);
        }
        chance *= (n - k) as f64 / (k + 1) as f64;
    }
    0
}

/// Where and from what figures came.
#[derive(Clone, Debug, Serialize, Deserialize)]
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

/// The file of a result, `lab/results/NAME.json`.
fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("results").join(format!("{name}.json"))
}

/// Stores a result as `lab/results/NAME.json`.
///
/// # Errors
/// If it cannot be written.
pub fn store<T: Serialize>(name: &str, result: &T) -> anyhow::Result<()> {
    let path = path(name);
    let text = serde_json::to_string_pretty(result)? + "\n";
    fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    eprintln!("stored {}", path.display());
    Ok(())
}

/// A stored result; none if nothing was stored.
///
/// # Errors
/// If it is not what is stored under such a name today.
pub fn stored<T: DeserializeOwned>(name: &str) -> anyhow::Result<Option<T>> {
    let path = path(name);
    match fs::read_to_string(&path) {
        Ok(text) => {
            serde_json::from_str(&text).map(Some).with_context(|| format!("{} is of another shape", path.display()))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::{Spread, outside};

    #[test]
    fn the_interval_of_a_median_is_the_sign_tests() {
        // Tables of the sign test: for 6, 10, 20 and 40 values it leaves out 0, 1, 5 and 13 on each side.
        for (n, left_out) in [(1, 0), (5, 0), (6, 0), (10, 1), (20, 5), (40, 13)] {
            assert_eq!(outside(n), left_out, "{n} values");
        }
        let spread = Spread::of(&(1..=20).map(f64::from).collect::<Vec<_>>());
        assert_eq!((spread.median, spread.quartiles, spread.interval), (10.5, [5.0, 16.0], [6.0, 15.0]));
    }
}
