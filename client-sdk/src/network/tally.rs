//! What is counted of the calls to each cell, and the budget that they share.

use cell_map::CellId;
use mesh_routing::budget::{Budget, Limits};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// What was counted of the calls to one cell, since the mesh was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CellStats {
    /// Calls made, streams included.
    pub calls: u64,
    /// Times that a call was sent: to an instance, a router, or a service in this process.
    pub attempts: u64,
    /// Times that a call was to be sent and could not: nothing was connected.
    pub unsent: u64,
    /// Calls sent again after a failure.
    pub resends: u64,
    /// Calls not sent again because the budget was spent.
    pub budget_exhausted: u64,
    /// Times that the cell named another owner, and was believed.
    pub redirects: u64,
    /// Waits for a user who was moving.
    pub moving_waits: u64,
    /// Attempts that went through a router because direct ones failed, or were known to.
    pub fallbacks: u64,
    /// Connections made.
    pub connects: u64,
    /// Connections that could not be made.
    pub connects_failed: u64,
}

macro_rules! counts {
    ($($name:ident),*) => {
        /// The same, counting.
        #[derive(Debug, Default)]
        pub(super) struct Counts { $(pub $name: AtomicU64,)* }

        impl Counts {
            fn read(&self) -> CellStats {
                CellStats { $($name: self.$name.load(Relaxed),)* }
            }
        }

        impl std::ops::AddAssign for CellStats {
            fn add_assign(&mut self, other: Self) {
                $(self.$name += other.$name;)*
            }
        }
    };
}

counts!(
    calls,
    attempts,
    unsent,
    resends,
    budget_exhausted,
    redirects,
    moving_waits,
    fallbacks,
    connects,
    connects_failed
);

/// Counts one.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

/// One cell, as calls to it are counted. The calls whose cell is unknown, and the routers that carry them, have one too.
#[derive(Debug)]
pub(super) struct Tally {
    /// The cell.
    pub cell: Option<CellId>,
    /// What may be sent again.
    pub budget: Budget,
    pub counts: Counts,
}

/// The tallies of all cells. A cell keeps its tally for as long as the mesh lives.
#[derive(Debug)]
pub(super) struct Tallies {
    limits: Limits,
    /// Of calls whose cell is unknown.
    pub routers: Arc<Tally>,
    cells: Mutex<BTreeMap<CellId, Arc<Tally>>>,
}

impl Tallies {
    pub fn new(limits: Limits) -> Self {
        Self { limits, routers: Arc::new(tally(None, limits)), cells: Mutex::default() }
    }

    pub fn of(&self, cell: &CellId) -> Arc<Tally> {
        let mut cells = self.cells();
        let known = cells.entry(cell.clone());
        Arc::clone(known.or_insert_with(|| Arc::new(tally(Some(cell.clone()), self.limits))))
    }

    pub fn read(&self) -> (BTreeMap<CellId, CellStats>, CellStats) {
        let cells = self.cells().iter().map(|(cell, tally)| (cell.clone(), tally.counts.read())).collect();
        (cells, self.routers.counts.read())
    }

    fn cells(&self) -> MutexGuard<'_, BTreeMap<CellId, Arc<Tally>>> {
        self.cells.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn tally(cell: Option<CellId>, limits: Limits) -> Tally {
    Tally { cell, budget: Budget::new(limits), counts: Counts::default() }
}
