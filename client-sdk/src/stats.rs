//! What was counted: how many calls callers made, and how many of them became calls on the wire.

use crate::CellStats;
use cell_map::CellId;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What a mesh has counted since it was built. Counters only grow, and are read one after another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// By method, those that a client was made for, in the order of their paths.
    pub methods: Vec<MethodStats>,
    /// Calls on the wire, by the cell that was to answer.
    pub cells: BTreeMap<CellId, CellStats>,
    /// Calls on the wire whose cell was not known, and connections to routers.
    pub routers: CellStats,
}

impl Stats {
    /// Of one method, by its path `/package.Service/Method`.
    #[must_use]
    pub fn method(&self, path: &str) -> Option<&MethodStats> {
        self.methods.iter().find(|method| method.path == path)
    }

    /// Calls on the wire in all.
    #[must_use]
    pub fn wire(&self) -> CellStats {
        self.cells.values().fold(self.routers, |mut sum, cell| {
            sum += *cell;
            sum
        })
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What was counted of one method.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct MethodStats {
            /// `/package.Service/Method`.
            pub path: &'static str,
            $($(#[$doc])* pub $name: u64,)*
        }

        /// The counters behind [`MethodStats`].
        #[derive(Debug, Default)]
        pub(crate) struct Counts {
            $($(#[$doc])* pub $name: AtomicU64,)*
        }

        impl Counts {
            pub fn stats(&self, path: &'static str) -> MethodStats {
                MethodStats { path, $($name: self.$name.load(Relaxed),)* }
            }
        }

        impl MethodStats {
            /// Takes in what another slot of the same method has counted.
            pub(crate) fn add(&mut self, other: &Self) {
                let largest_batch = self.largest_batch.max(other.largest_batch);
                $(self.$name += other.$name;)*
                self.largest_batch = largest_batch;
            }
        }
    };
}

counters! {
    /// Calls that callers made.
    logical,
    /// Of them answered by local logic.
    local,
    /// Of them answered by what an earlier call of the same [`RequestScope`](crate::RequestScope) got.
    remembered,
    /// Of them that joined an equal call on its way.
    coalesced,
    /// Of them carried by a batch.
    batched,
    /// Calls sent on the wire: of their own, as batches, as parts of split batches.
    wire,
    /// Calls that the mesh did not answer, those with a stale answer included.
    failed,
    /// Calls sent anew because another caller's call, or the batch, that was to answer them failed for itself.
    retried,
    /// Calls answered by local data past its lease after the mesh had failed.
    stale,
    /// Batches sent.
    batches,
    /// Items in them.
    batch_items,
    /// Most items in one of them.
    largest_batch,
}

impl Counts {
    /// Counts one; returns how many were counted before.
    pub fn add(counter: &AtomicU64) -> u64 {
        counter.fetch_add(1, Relaxed)
    }

    /// A batch was sent.
    pub fn batch(&self, items: usize) {
        let items = u64::try_from(items).unwrap_or(u64::MAX);
        Self::add(&self.batches);
        self.batch_items.fetch_add(items, Relaxed);
        self.largest_batch.fetch_max(items, Relaxed);
    }
}
