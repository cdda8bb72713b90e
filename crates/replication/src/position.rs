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
    /// Where a writer goes on, `now_ms` being milliseconds since the Unix epoch. One that was a copy so far starts a new
    /// history, later than the one it followed, so that followers take a fresh snapshot of it; one that wrote already
    /// goes on with its own. A database that was lost and made anew starts later than the lost one did.
    #[must_use]
    pub fn of_writer(standing: Option<Standing>, now_ms: i64) -> Self {
        let by_clock = u64::try_from(now_ms).unwrap_or(0).max(1);
        match standing {
            Some(Standing { position, writer: true }) => position,
            Some(Standing { position, writer: false }) => {
                Self { incarnation: (position.incarnation + 1).max(by_clock), ..position }
            }
            None => Self { incarnation: by_clock, sequence: 0 },
        }
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
    fn a_new_writer_starts_a_later_history_whatever_its_clock_says() {
        let at = |incarnation, sequence| Position { incarnation, sequence };
        let standing = |writer| Some(Standing { position: at(7_000, 9), writer });
        assert_eq!(Position::of_writer(None, 5_000), at(5_000, 0));
        assert_eq!(Position::of_writer(None, -1), at(1, 0));
        assert_eq!(Position::of_writer(standing(false), 1_000), at(7_001, 9));
        assert_eq!(Position::of_writer(standing(false), 9_000), at(9_000, 9));
        assert_eq!(Position::of_writer(standing(true), 9_000), at(7_000, 9), "a restart goes on with the same history");
    }
}
