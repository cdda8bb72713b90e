//! The nearest cell.

use super::CellMap;
use crate::{Cell, RegionId};
use std::{cmp::Reverse, time::Duration};

impl CellMap {
    /// The nearest cell to a region that is not draining. Of several equally near the one of most weight, of equal
    /// weight the first by name. Regions without a stated distance are the farthest. `None` if every cell is draining.
    #[must_use]
    pub fn nearest_cell(&self, from: &RegionId) -> Option<&Cell> {
        let rank = |cell: &&Cell| (self.how_far(from, cell), Reverse(cell.weight));
        self.active_by_name().min_by_key(rank)
    }

    /// The cell that a new user near `from` is to be registered in: among the nearest of those that take new users (not
    /// draining, with weight and a bucket to mint in), in proportion to their weights, as the random number `draw`
    /// falls. `None` if no cell takes new users.
    #[must_use]
    pub fn cell_for_new_user(&self, from: &RegionId, draw: u64) -> Option<&Cell> {
        let takes_users = |cell: &&Cell| {
            let index = self.index_of(&cell.id).expect("the cell is of this map");
            cell.weight > 0 && self.mintable_count(index) > 0
        };
        let nearest = self.active_by_name().filter(takes_users).map(|cell| self.how_far(from, cell)).min()?;
        let candidates = || self.active_by_name().filter(takes_users).filter(|c| self.how_far(from, c) == nearest);
        let total: u64 = candidates().map(|cell| u64::from(cell.weight)).sum();
        let mut left = ((u128::from(draw) * u128::from(total)) >> 64) as u64;
        candidates().find(|cell| {
            let weight = u64::from(cell.weight);
            let here = left < weight;
            left = left.saturating_sub(weight);
            here
        })
    }

    fn active_by_name(&self) -> impl Iterator<Item = &Cell> {
        self.by_name.iter().map(|index| self.cell_at(*index)).filter(|cell| cell.is_active())
    }

    fn how_far(&self, from: &RegionId, cell: &Cell) -> Duration {
        self.distance(from, &cell.region).unwrap_or(Duration::MAX)
    }
}
