//! The cell map: one immutable version of who is home.

mod hash;
mod nearest;

use crate::{
    BUCKET_COUNT, BucketId, Cell, CellId, CellIndex, Incarnation, KeyHash, MapDraft, MapEpoch, Pin, RegionId,
    UserEpoch,
    distance::Distances,
    layout::{BucketCells, ReservedBuckets},
    pin::{PinTable, PinValue},
};
use std::{sync::Arc, time::Duration};

pub use hash::ContentHash;

/// Set in a bucket's entry if the bucket has pins, so that a lookup without them ends after one load.
pub(crate) const HAS_PINS: u16 = 1 << 15;

/// One immutable version of the cell map. Made by [`MapDraft::build`], which checks it.
///
/// Versions share what did not change between them, so a clone is cheap; share one as `Arc<CellMap>` all the same.
#[derive(Clone)]
pub struct CellMap {
    pub(crate) incarnation: Incarnation,
    pub(crate) epoch: MapEpoch,
    pub(crate) cells: Arc<[Cell]>,
    /// Cells in the order of their names.
    pub(crate) by_name: Arc<[CellIndex]>,
    /// Buckets of each cell: (all, mintable).
    pub(crate) counts: Arc<[(u32, u32)]>,
    /// Cell numbers, with [`HAS_PINS`].
    pub(crate) buckets: Arc<BucketCells>,
    pub(crate) reserved: Arc<ReservedBuckets>,
    pub(crate) pins: Arc<PinTable>,
    pub(crate) distances: Distances,
    pub(crate) global: CellIndex,
    pub(crate) forced_reason: Option<String>,
    pub(crate) hash: ContentHash,
}

/// What decided where a key is at home.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DecidedBy {
    /// Its bucket.
    Bucket,
    /// A pin.
    Pin,
}

/// Where a key is at home, by the map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Home<'a> {
    /// Home cell.
    pub cell: &'a Cell,
    /// Its place in the map.
    pub index: CellIndex,
    /// The key's bucket.
    pub bucket: BucketId,
    /// Bucket or pin.
    pub decided_by: DecidedBy,
    /// Epoch that the map knows of this user: of a pin or of a dropped one; otherwise 0.
    pub user_epoch: UserEpoch,
}

impl CellMap {
    /// Most cells in a map.
    pub const MAX_CELLS: usize = 4096;

    /// Home of the user with these canonical key bytes (OWN-1).
    #[must_use]
    pub fn home(&self, key: &[u8]) -> Home<'_> {
        let hash = KeyHash::of(key);
        let bucket = hash.bucket();
        let index = self.bucket_cell(bucket);
        let by_bucket = (index, DecidedBy::Bucket, UserEpoch::ZERO);
        let (index, decided_by, user_epoch) = match self.pin_of(hash, key) {
            Some(PinValue { cell: Some(cell), user_epoch }) => (cell, DecidedBy::Pin, user_epoch),
            Some(PinValue { cell: None, user_epoch }) => (index, DecidedBy::Bucket, user_epoch),
            None => by_bucket,
        };
        Home { cell: &self.cells[index.index()], index, bucket, decided_by, user_epoch }
    }

    /// Place of the home cell alone: the fastest answer.
    #[inline]
    #[must_use]
    pub fn home_index(&self, key: &[u8]) -> CellIndex {
        let hash = KeyHash::of(key);
        let entry = self.buckets[hash.bucket().index()];
        if entry & HAS_PINS != 0
            && let Some(PinValue { cell: Some(cell), .. }) = self.pins.find(hash, key)
        {
            return cell;
        }
        CellIndex::new(entry & !HAS_PINS)
    }

    /// Orders versions within [`Self::incarnation`].
    #[must_use]
    pub fn epoch(&self) -> MapEpoch {
        self.epoch
    }

    /// The history that this version belongs to.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// All cells, in the order that [`CellIndex`] counts.
    #[must_use]
    pub fn cells(&self) -> &[Cell] {
        &self.cells
    }

    /// The cell at a place.
    ///
    /// # Panics
    /// May panic if `index` comes from another map.
    #[must_use]
    pub fn cell_at(&self, index: CellIndex) -> &Cell {
        &self.cells[index.index()]
    }

    /// The place of the cell with this name.
    #[must_use]
    pub fn index_of(&self, id: &CellId) -> Option<CellIndex> {
        let found = self.by_name.binary_search_by(|index| self.cells[index.index()].id.cmp(id));
        found.ok().map(|place| self.by_name[place])
    }

    /// The cell with this name.
    #[must_use]
    pub fn cell(&self, id: &CellId) -> Option<&Cell> {
        self.index_of(id).map(|index| self.cell_at(index))
    }

    /// The cell that writes global data.
    #[must_use]
    pub fn global_cell(&self) -> &Cell {
        self.cell_at(self.global)
    }

    /// Home of a bucket's users, those with a pin excepted.
    #[inline]
    #[must_use]
    pub fn bucket_cell(&self, bucket: BucketId) -> CellIndex {
        CellIndex::new(self.buckets[bucket.index()] & !HAS_PINS)
    }

    /// The same as a cell.
    #[must_use]
    pub fn bucket_home(&self, bucket: BucketId) -> &Cell {
        self.cell_at(self.bucket_cell(bucket))
    }

    /// Whether nothing is minted in this bucket (OWN-10).
    #[must_use]
    pub fn is_reserved(&self, bucket: BucketId) -> bool {
        self.reserved.contains(bucket)
    }

    /// How many buckets a cell is the home of, reserved ones included.
    ///
    /// # Panics
    /// May panic if `index` comes from another map.
    #[must_use]
    pub fn bucket_count(&self, index: CellIndex) -> usize {
        self.counts[index.index()].0 as usize
    }

    /// How many of a cell's buckets may be minted in.
    ///
    /// # Panics
    /// May panic if `index` comes from another map.
    #[must_use]
    pub fn mintable_count(&self, index: CellIndex) -> usize {
        self.counts[index.index()].1 as usize
    }

    /// All pins, tombstones included, in the order of the keys' hashes.
    pub fn pins(&self) -> impl ExactSizeIterator<Item = Pin<'_>> {
        self.pins.iter().map(|(_, pin)| pin)
    }

    /// The pin of this user, tombstones included.
    #[must_use]
    pub fn pin<'a>(&self, key: &'a [u8]) -> Option<Pin<'a>> {
        let PinValue { cell, user_epoch } = self.pin_of(KeyHash::of(key), key)?;
        Some(Pin { key, cell, user_epoch })
    }

    /// Round-trip time between two regions; `None` if the map does not say.
    #[must_use]
    pub fn distance(&self, a: &RegionId, b: &RegionId) -> Option<Duration> {
        self.distances.between(a, b)
    }

    /// Every distance stated, each pair once, in the order of the names.
    pub fn distances(&self) -> impl ExactSizeIterator<Item = (&RegionId, &RegionId, Duration)> {
        self.distances.iter().map(|(a, b, us)| (a, b, Duration::from_micros(us.into())))
    }

    /// Why this version was allowed to re-home more users than the publisher's guard permits.
    #[must_use]
    pub fn forced_reason(&self) -> Option<&str> {
        self.forced_reason.as_deref()
    }

    /// Identity of everything in this version, incarnation and epoch included.
    #[must_use]
    pub fn content_hash(&self) -> ContentHash {
        self.hash
    }

    /// The bucket table as it is stored: for each bucket the number of its cell, as a little-endian `u16`.
    #[must_use]
    pub fn bucket_table_bytes(&self) -> Vec<u8> {
        BucketId::all().flat_map(|bucket| self.bucket_cell(bucket).get().to_le_bytes()).collect()
    }

    /// The reserved buckets as they are stored: one bit each, least significant first.
    #[must_use]
    pub fn reserved_bytes(&self) -> Vec<u8> {
        self.reserved.to_bytes()
    }

    /// A draft of the version after this one: the same content, the next epoch, no forcing.
    #[must_use]
    pub fn next(&self) -> MapDraft {
        MapDraft::after(self)
    }

    fn pin_of(&self, hash: KeyHash, key: &[u8]) -> Option<PinValue> {
        let has_pins = self.buckets[hash.bucket().index()] & HAS_PINS != 0;
        if has_pins { self.pins.find(hash, key) } else { None }
    }

    /// Bucket entries without [`HAS_PINS`].
    pub(crate) fn plain_buckets(&self) -> Box<BucketCells> {
        let mut plain = crate::layout::no_bucket_cells();
        for bucket in 0..BUCKET_COUNT {
            plain[bucket] = self.buckets[bucket] & !HAS_PINS;
        }
        plain
    }
}

/// Equal content, incarnation and epoch included.
impl PartialEq for CellMap {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash
    }
}

impl Eq for CellMap {}

impl std::fmt::Debug for CellMap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CellMap")
            .field("incarnation", &self.incarnation)
            .field("epoch", &self.epoch)
            .field("cells", &self.cells)
            .field("pins", &self.pins.len())
            .field("hash", &self.hash)
            .finish_non_exhaustive()
    }
}

impl DecidedBy {
    /// `bucket` or `pin`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bucket => "bucket",
            Self::Pin => "pin",
        }
    }
}

impl std::fmt::Display for DecidedBy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
