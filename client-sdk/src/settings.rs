//! What a mesh does for all calls, unless a call wants less.

use std::time::Duration;

/// What a mesh does for all calls. A call, its method's policy and the restrictions in force can only take away from it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// Whether equal reads that run at the same time become one.
    pub coalescing: bool,
    /// Whether calls of a method with a batch form are put together.
    pub batching: bool,
    /// Longest time that an item waits for company while another call to its destination is on its way. The runtime's
    /// timer rounds it up to its next millisecond.
    pub batch_wait: Duration,
    /// One in so many of the calls that stay inside gets a span; 0: none.
    pub span_every: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { coalescing: true, batching: true, batch_wait: Duration::from_millis(1), span_every: 1024 }
    }
}
