//! What was counted.

use crate::CellStats;
use cell_map::CellId;
use std::collections::BTreeMap;

/// What was counted since a mesh was made. Counters only grow, and are read one after another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Calls on the wire, by the cell that was to answer.
    pub cells: BTreeMap<CellId, CellStats>,
    /// Calls on the wire whose cell was not known, and connections to routers.
    pub routers: CellStats,
}

impl Stats {
    /// Calls on the wire in all.
    #[must_use]
    pub fn wire(&self) -> CellStats {
        self.cells.values().fold(self.routers, |mut sum, cell| {
            sum += *cell;
            sum
        })
    }
}
