//! Where a copy stands in a writer's history.

/// A place in a writer's history. Sequences are compared within one incarnation only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The writer's history.
    pub incarnation: u64,
    /// Where in it.
    pub sequence: u64,
}

/// Where a copy stands, and whose history it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Last change in it.
    pub position: Position,
    /// Whether it was written here.
    pub writer: bool,
}

impl Position {
    /// Where a writer begins, `now_ms` being milliseconds since the Unix epoch: a history of its own, later than the one
    /// that stands here and than `later_than`, so that followers take a fresh snapshot of it. Each beginning is one, a
    /// restart too: who was away cannot know whether another wrote meanwhile. The clock puts it after what another began
    /// and a lost database had.
    #[must_use]
    pub fn begin(standing: Option<Standing>, later_than: u64, now_ms: i64) -> Self {
        let by_clock = u64::try_from(now_ms).unwrap_or(0);
        let so_far = standing.map(|standing| standing.position).unwrap_or_default();
        let incarnation = (so_far.incarnation.max(later_than).saturating_add(1)).max(by_clock);
        Self { incarnation, ..so_far }
    }

    /// The position of the next change in the same history.
    #[must_use]
    pub const fn next(self) -> Self {
        Self { incarnation: self.incarnation, sequence: self.sequence + 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_begins_a_later_history_whatever_its_clock_says() {
        let at = |incarnation, sequence| Position { incarnation, sequence };
        assert_eq!(Position::begin(None, 0, 5_000), at(5_000, 0));
        assert_eq!(Position::begin(None, 0, -1), at(1, 0));
        for writer in [true, false] {
            let standing = Some(Standing { position: at(7_000, 9), writer });
            assert_eq!(Position::begin(standing, 0, 1_000), at(7_001, 9));
            assert_eq!(Position::begin(standing, 0, 9_000), at(9_000, 9));
            assert_eq!(Position::begin(standing, 9_500, 9_000), at(9_501, 9), "others have seen a later one");
        }
    }
}
