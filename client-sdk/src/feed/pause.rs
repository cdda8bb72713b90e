//! How long to wait before a stream is opened anew.

use std::time::Duration;

/// After the first failure.
const FIRST: Duration = Duration::from_millis(50);
/// After many.
const LONGEST: Duration = Duration::from_secs(5);
/// Where asking again does not help by itself: the server has no such method, the data is too large.
const HOPELESS: Duration = Duration::from_secs(60);
/// A stream that held so long had no trouble.
const HELD: Duration = Duration::from_secs(1);

/// Doubling pauses.
#[derive(Debug)]
pub(crate) struct Pause(Duration);

impl Pause {
    pub fn new() -> Self {
        Self(FIRST)
    }

    /// The pause after a stream that held so long. `chance` in [0, 1) spreads clients: half to all of it.
    pub fn after(&mut self, held: Duration, hopeless: bool, chance: f64) -> Duration {
        if held >= HELD {
            self.0 = FIRST;
        }
        let pause = if hopeless { HOPELESS } else { self.0 };
        self.0 = (self.0 * 2).min(LONGEST);
        pause.mul_f64(0.5 + chance / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_to_a_limit_and_start_over_after_a_stream_that_held() {
        let mut pause = Pause::new();
        let after = |pause: &mut Pause, held| pause.after(held, false, 0.999_999).as_millis();
        let pauses: Vec<_> = (0..9).map(|_| after(&mut pause, Duration::ZERO)).collect();
        assert_eq!(pauses, [49, 99, 199, 399, 799, 1599, 3199, 4999, 4999]);
        assert_eq!(after(&mut pause, HELD), 49);
        assert_eq!(pause.after(HELD, true, 0.0), HOPELESS / 2);
    }
}
