//! How far regions are from each other.

use crate::RegionId;
use std::{collections::BTreeMap, time::Duration};

/// Round-trip times between regions. Symmetric; a region is at distance 0 from itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Distances(BTreeMap<(RegionId, RegionId), u32>);

impl Distances {
    pub(crate) fn between(&self, a: &RegionId, b: &RegionId) -> Option<Duration> {
        if a == b {
            return Some(Duration::ZERO);
        }
        self.0.get(&ordered(a, b)).map(|us| Duration::from_micros((*us).into()))
    }

    /// Returns the time this replaces.
    pub(crate) fn set(&mut self, a: &RegionId, b: &RegionId, rtt_us: u32) -> Option<u32> {
        self.0.insert(ordered(a, b), rtt_us)
    }

    /// In order of the regions' names.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (&RegionId, &RegionId, u32)> {
        self.0.iter().map(|((a, b), us)| (a, b, *us))
    }
}

fn ordered(a: &RegionId, b: &RegionId) -> (RegionId, RegionId) {
    let (low, high) = if a <= b { (a, b) } else { (b, a) };
    (low.clone(), high.clone())
}
