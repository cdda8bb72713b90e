//! From draft to map: every check that needs the whole.

use super::MapDraft;
use crate::{
    BucketId, Cell, CellIndex, CellMap, ContentHash, Incarnation, MapEpoch, MapError,
    layout::{BucketCells, ReservedBuckets},
    map::HAS_PINS,
    pin::PinTable,
};
use std::{collections::BTreeMap, sync::Arc};

/// Longest reason for forcing a version, in bytes.
const MAX_REASON: usize = 1024;

impl MapDraft {
    /// The map.
    ///
    /// # Errors
    /// The first thing that is wrong with the draft.
    pub fn build(mut self) -> Result<CellMap, MapError> {
        if self.incarnation == Incarnation::ZERO {
            return Err(MapError::NoIncarnation);
        }
        if self.epoch == MapEpoch::ZERO {
            return Err(MapError::NoEpoch);
        }
        if self.cells.is_empty() {
            return Err(MapError::NoCells);
        }
        check_endpoints(&self.cells)?;
        let global = self.global.as_ref().ok_or(MapError::NoGlobalCell)?;
        let global = self.index_of("the global cell", global)?;
        let reason = self.forced_reason.as_ref().map_or(1, String::len);
        if !(1..=MAX_REASON).contains(&reason) {
            return Err(MapError::Reason { bytes: reason, max: MAX_REASON });
        }
        self.settle_pins();
        let mut buckets = self.buckets.ok_or(MapError::NoLayout)?;
        let counts = count(&buckets, &self.reserved, self.cells.len())?;
        mark_pins(&mut buckets, &self.pins);

        let mut by_name: Vec<_> = (0..self.cells.len()).map(|index| CellIndex::new(index as u16)).collect();
        by_name.sort_unstable_by_key(|index| &self.cells[index.index()].id);
        let mut map = CellMap {
            incarnation: self.incarnation,
            epoch: self.epoch,
            by_name: by_name.into(),
            cells: self.cells.into(),
            counts: counts.into(),
            buckets: Arc::from(buckets),
            reserved: Arc::new(self.reserved),
            pins: self.pins,
            distances: self.distances,
            global,
            forced_reason: self.forced_reason,
            hash: ContentHash::UNSET,
        };
        map.hash = ContentHash::of(&map);
        Ok(map)
    }
}

/// One address stands for one cell: an entry copied into a second cell would send that one's users astray.
fn check_endpoints(cells: &[Cell]) -> Result<(), MapError> {
    let mut owners = BTreeMap::new();
    for cell in cells {
        for endpoint in cell.endpoints() {
            let first = *owners.entry(endpoint).or_insert(&cell.id);
            if *first != cell.id {
                let (first, second) = (first.clone(), cell.id.clone());
                return Err(MapError::SharedEndpoint { endpoint: endpoint.to_owned(), first, second });
            }
        }
    }
    Ok(())
}

/// Buckets of each cell: (all, mintable).
fn count(buckets: &BucketCells, reserved: &ReservedBuckets, cells: usize) -> Result<Vec<(u32, u32)>, MapError> {
    let mut counts = vec![(0, 0); cells];
    for (bucket, index) in BucketId::all().zip(buckets) {
        let Some((all, mintable)) = counts.get_mut(usize::from(*index)) else {
            return Err(MapError::BucketCell { bucket, index: *index, cells });
        };
        *all += 1;
        *mintable += u32::from(!reserved.contains(bucket));
    }
    Ok(counts)
}

fn mark_pins(buckets: &mut BucketCells, pins: &PinTable) {
    for (bucket, entry) in buckets.iter_mut().enumerate() {
        if pins.touches(bucket) {
            *entry |= HAS_PINS;
        }
    }
}
