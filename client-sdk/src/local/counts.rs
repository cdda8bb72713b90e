//! What is known of local answers.

use crate::feed::FeedStats;
use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// What is known of local answers: see [`crate::Mesh::local_stats`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LocalStats {
    /// Of each logic.
    pub logics: Vec<LogicStats>,
    /// Of each feed.
    pub feeds: Vec<FeedStats>,
}

/// Whether a logic answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LocalState {
    /// It does.
    On,
    /// The mesh restricted it: the server is asked.
    Restricted,
    /// Its answers differed from the server's, or the code of a feed that it uses panicked: the server is asked, until [`crate::Mesh::enable_local_logic`].
    SwitchedOff,
}

/// What is known of one logic.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogicStats {
    /// Its name.
    pub name: &'static str,
    /// Its major and minor version.
    pub version: (u32, u32),
    /// Whether it answers.
    pub state: LocalState,
    /// Calls that it answered.
    pub answers: u64,
    /// Of them by data past its lease, because the mesh did not answer.
    pub stale: u64,
    /// Calls left to the server because data was not there yet.
    pub missing: u64,
    /// Calls left to the server because data was too old, or did not show what it must.
    pub late: u64,
    /// Calls left to the server because the logic was not sure.
    pub unsure: u64,
    /// How long the first answer took from the start.
    pub first_answer: Option<Duration>,
    /// Answers compared with the server's.
    pub compared: u64,
    /// Of them those that differed, and still did when the data had caught up.
    pub differed: u64,
    /// Comparisons without a result: the server did not answer, or the data changed all the time.
    pub unsettled: u64,
}

/// The counters of one logic.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub answers: AtomicU64,
    pub stale: AtomicU64,
    pub missing: AtomicU64,
    pub late: AtomicU64,
    pub unsure: AtomicU64,
    pub first_answer_ns: AtomicU64,
    pub compared: AtomicU64,
    pub differed: AtomicU64,
    pub unsettled: AtomicU64,
}

impl Counts {
    #[inline]
    pub fn add(counter: &AtomicU64) -> u64 {
        counter.fetch_add(1, Relaxed)
    }

    pub fn stats(&self, name: &'static str, version: (u32, u32), state: LocalState) -> LogicStats {
        let first = self.first_answer_ns.load(Relaxed);
        LogicStats {
            name,
            version,
            state,
            answers: self.answers.load(Relaxed),
            stale: self.stale.load(Relaxed),
            missing: self.missing.load(Relaxed),
            late: self.late.load(Relaxed),
            unsure: self.unsure.load(Relaxed),
            first_answer: (first > 0).then(|| Duration::from_nanos(first)),
            compared: self.compared.load(Relaxed),
            differed: self.differed.load(Relaxed),
            unsettled: self.unsettled.load(Relaxed),
        }
    }
}
