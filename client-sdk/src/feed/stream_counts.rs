//! What was counted of one feed's streams, and whom its own failure concerns.

use std::{
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// Switches a logic off that looks at a feed.
pub(crate) type SwitchOff = Box<dyn Fn() + Send>;

/// What was counted of one feed's streams.
#[derive(Default)]
pub(crate) struct StreamCounts {
    pub opened: AtomicU64,
    pub failed: AtomicU64,
    panics: AtomicU64,
    switches: Mutex<Vec<SwitchOff>>,
}

impl StreamCounts {
    /// How often the feed's own code panicked.
    pub fn panics(&self) -> u64 {
        self.panics.load(Relaxed)
    }

    /// Notes that it did: whatever looks at it is switched off.
    pub fn panicked(&self) {
        let switches = self.switches.lock().unwrap_or_else(PoisonError::into_inner);
        self.panics.fetch_add(1, Relaxed);
        switches.iter().for_each(|switch_off| switch_off());
    }

    /// Has one more logic switched off when it panics, or at once if it did before.
    pub fn concerns(&self, switch_off: SwitchOff) {
        let mut switches = self.switches.lock().unwrap_or_else(PoisonError::into_inner);
        if self.panics() > 0 {
            switch_off();
        }
        switches.push(switch_off);
    }
}

impl fmt::Debug for StreamCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { opened, failed, panics, .. } = self;
        f.debug_struct("StreamCounts")
            .field("opened", opened)
            .field("failed", failed)
            .field("panics", panics)
            .finish_non_exhaustive()
    }
}
