//! What the load counts between two lines that it prints.

use std::time::Duration;

/// Counts since the last line.
#[derive(Debug, Default)]
pub(super) struct Stats {
    /// How long each order took, from preview to reading it back.
    times: Vec<Duration>,
    crossed: usize,
    sold_out: usize,
    failed: usize,
    last_failure: Option<String>,
}

impl Stats {
    /// An order was placed and read back; `crossed`: through a door that is not its home's.
    pub fn placed(&mut self, took: Duration, crossed: bool) {
        self.times.push(took);
        self.crossed += usize::from(crossed);
    }

    /// The cell has none left of what was to be ordered.
    pub fn sold_out(&mut self) {
        self.sold_out += 1;
    }

    /// Something did not work.
    pub fn failed(&mut self, why: String) {
        self.failed += 1;
        self.last_failure = Some(why);
    }

    /// The line to print, and back to nothing.
    pub fn take_line(&mut self) -> String {
        let mut stats = std::mem::take(self);
        stats.times.sort_unstable();
        let mut line =
            format!("load: {} orders, {} of them from the other region's door", stats.times.len(), stats.crossed);
        if !stats.times.is_empty() {
            let at = |share: f64| millis(quantile(&stats.times, share));
            line += &format!(", p50 {} ms, p99 {} ms", at(0.5), at(0.99));
        }
        if stats.sold_out > 0 {
            line += &format!(", {} sold out", stats.sold_out);
        }
        line += &format!(", {} failed", stats.failed);
        if let Some(why) = stats.last_failure {
            line += &format!(" (last: {why})");
        }
        line
    }
}

/// Nearest rank in sorted values.
fn quantile(sorted: &[Duration], share: f64) -> Duration {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

fn millis(time: Duration) -> u128 {
    (time.as_micros() + 500) / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_of_the_time_since_the_last_one_only() {
        let mut stats = Stats::default();
        for n in 1..=100 {
            stats.placed(Duration::from_millis(n), n % 2 == 0);
        }
        stats.failed("no route".to_owned());
        let line = stats.take_line();
        assert_eq!(
            line,
            "load: 100 orders, 50 of them from the other region's door, p50 50 ms, p99 99 ms, 1 failed (last: no route)"
        );
        assert_eq!(stats.take_line(), "load: 0 orders, 0 of them from the other region's door, 0 failed");
    }
}
