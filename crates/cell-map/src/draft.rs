//! Drafts: the only way to a cell map.

mod build;

use crate::{
    BUCKET_COUNT, BucketId, Cell, CellId, CellIndex, CellMap, CellState, Incarnation, KeyHash, MapEpoch, MapError,
    RegionId, UserEpoch, UserKey,
    distance::Distances,
    layout::{self, BucketCells, ReservedBuckets},
    pin::{MAX_PINS, PinChanges, PinTable, PinValue},
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// Bytes of a stored bucket table.
const BUCKET_TABLE_BYTES: usize = 2 * BUCKET_COUNT;

/// A version of the cell map in the making. [`Self::build`] checks it as a whole.
#[derive(Clone)]
pub struct MapDraft {
    incarnation: Incarnation,
    epoch: MapEpoch,
    cells: Vec<Cell>,
    /// Places of the cells by name.
    numbers: BTreeMap<CellId, CellIndex>,
    buckets: Option<Box<BucketCells>>,
    reserved: ReservedBuckets,
    pins: Arc<PinTable>,
    pin_changes: PinChanges,
    distances: Distances,
    global: Option<CellId>,
    forced_reason: Option<String>,
}

/// What became of an ownership publication (OWN-19).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// The user is pinned.
    Pinned,
    /// The user is at home where the bucket is; a tombstone keeps the epoch.
    Dropped,
    /// The map knows this epoch or a higher one: nothing changed.
    Stale,
}

impl MapDraft {
    /// An empty draft of the first version of a history.
    #[must_use]
    pub fn new(incarnation: Incarnation) -> Self {
        Self {
            incarnation,
            epoch: MapEpoch::new(1),
            cells: Vec::new(),
            numbers: BTreeMap::new(),
            buckets: None,
            reserved: ReservedBuckets::NONE,
            pins: Arc::new(PinTable::empty()),
            pin_changes: PinChanges::new(),
            distances: Distances::default(),
            global: None,
            forced_reason: None,
        }
    }

    pub(crate) fn after(map: &CellMap) -> Self {
        Self {
            incarnation: map.incarnation,
            epoch: map.epoch.next(),
            cells: map.cells.to_vec(),
            numbers: number(&map.cells),
            buckets: Some(map.plain_buckets()),
            reserved: (*map.reserved).clone(),
            pins: Arc::clone(&map.pins),
            pin_changes: PinChanges::new(),
            distances: map.distances.clone(),
            global: Some(map.global_cell().id.clone()),
            forced_reason: None,
        }
    }

    /// Sets the epoch, to read a stored map.
    pub fn set_epoch(&mut self, epoch: MapEpoch) -> &mut Self {
        self.epoch = epoch;
        self
    }

    /// Begins a new history, which consumers refuse until their operators adopt it. The epoch goes on counting.
    ///
    /// # Errors
    /// If `incarnation` is not higher.
    pub fn begin_incarnation(&mut self, incarnation: Incarnation) -> Result<&mut Self, MapError> {
        if incarnation <= self.incarnation {
            return Err(MapError::IncarnationNotHigher { current: self.incarnation, offered: incarnation });
        }
        self.incarnation = incarnation;
        Ok(self)
    }

    /// Adds a cell at the end of the list.
    ///
    /// # Errors
    /// If there is one of this name, an endpoint is not `host:port`, or there are too many.
    pub fn add_cell(&mut self, cell: Cell) -> Result<&mut Self, MapError> {
        cell.check()?;
        if self.numbers.contains_key(&cell.id) {
            return Err(MapError::DuplicateCell { cell: cell.id });
        }
        if self.cells.len() == CellMap::MAX_CELLS {
            return Err(MapError::TooManyCells { max: CellMap::MAX_CELLS });
        }
        self.numbers.insert(cell.id.clone(), CellIndex::new(self.cells.len() as u16));
        self.cells.push(cell);
        Ok(self)
    }

    /// Replaces the cell of the same name: its region, weight, state and endpoints.
    ///
    /// # Errors
    /// If there is none of this name or an endpoint is not `host:port`.
    pub fn set_cell(&mut self, cell: Cell) -> Result<&mut Self, MapError> {
        cell.check()?;
        let index = self.index_of("the change", &cell.id)?;
        self.cells[index.index()] = cell;
        Ok(self)
    }

    /// Sets a cell's state alone.
    ///
    /// # Errors
    /// If there is no such cell.
    pub fn set_cell_state(&mut self, id: &CellId, state: CellState) -> Result<&mut Self, MapError> {
        let index = self.index_of("the change", id)?;
        self.cells[index.index()].state = state;
        Ok(self)
    }

    /// Removes a cell that is nobody's home.
    ///
    /// # Errors
    /// If there is no such cell, or a bucket or pin is homed in it, or it is the global cell.
    pub fn remove_cell(&mut self, id: &CellId) -> Result<&mut Self, MapError> {
        let gone = self.index_of("the removal", id)?.get();
        let in_use = |why| Err(MapError::CellInUse { cell: id.clone(), why });
        if self.buckets.as_ref().is_some_and(|buckets| buckets.contains(&gone)) {
            return in_use("the home of buckets");
        }
        self.settle_pins();
        if self.pins.iter().any(|(_, pin)| pin.cell.is_some_and(|cell| cell.get() == gone)) {
            return in_use("the home of pinned users");
        }
        if self.global.as_ref() == Some(id) {
            return in_use("the global cell");
        }
        let renumber = |cell: u16| if cell > gone { cell - 1 } else { cell };
        self.cells.remove(gone.into());
        self.numbers = number(&self.cells);
        self.pins = Arc::new(self.pins.renumbered(renumber));
        if let Some(buckets) = &mut self.buckets {
            buckets.iter_mut().for_each(|cell| *cell = renumber(*cell));
        }
        Ok(self)
    }

    /// Names the cell that writes global data.
    pub fn set_global_cell(&mut self, id: &CellId) -> &mut Self {
        self.global = Some(id.clone());
        self
    }

    /// States the round-trip time between two regions, in whole microseconds; replaces an earlier one.
    ///
    /// # Errors
    /// If the regions are one, or the time is longer than 4294 s.
    pub fn set_distance(&mut self, a: &RegionId, b: &RegionId, rtt: Duration) -> Result<&mut Self, MapError> {
        self.put_distance(a, b, rtt)?;
        Ok(self)
    }

    /// Like [`Self::set_distance`], but refuses a second statement about one pair: to read a stored map.
    ///
    /// # Errors
    /// If the regions are one, the time is longer than 4294 s, or the pair has a distance.
    pub fn add_distance(&mut self, a: &RegionId, b: &RegionId, rtt: Duration) -> Result<&mut Self, MapError> {
        match self.put_distance(a, b, rtt)? {
            Some(_) => Err(MapError::DuplicateDistance { a: a.clone(), b: b.clone() }),
            None => Ok(self),
        }
    }

    /// Gives all buckets homes: active cells get their weight's share, one bucket in eight is reserved (OWN-10).
    ///
    /// # Errors
    /// If no active cell has weight.
    pub fn spread_buckets(&mut self) -> Result<&mut Self, MapError> {
        let weight = |cell: &Cell| if cell.is_active() { cell.weight } else { 0 };
        let weights: Vec<u32> = self.cells.iter().map(weight).collect();
        let (buckets, reserved) = layout::spread(&weights).ok_or(MapError::NoWeight)?;
        self.buckets = Some(buckets);
        self.reserved = reserved;
        Ok(self)
    }

    /// Gives one bucket another home.
    ///
    /// # Errors
    /// If there is no such cell or the buckets have no homes yet.
    pub fn set_bucket_cell(&mut self, bucket: BucketId, id: &CellId) -> Result<&mut Self, MapError> {
        let index = self.index_of("a bucket", id)?;
        let buckets = self.buckets.as_mut().ok_or(MapError::NoLayout)?;
        buckets[bucket.index()] = index.get();
        Ok(self)
    }

    /// Reserves a bucket or lets it be minted in (OWN-10).
    pub fn set_reserved(&mut self, bucket: BucketId, reserved: bool) -> &mut Self {
        self.reserved.set(bucket, reserved);
        self
    }

    /// Gives all buckets homes from their stored form ([`CellMap::bucket_table_bytes`]).
    ///
    /// # Errors
    /// If it has another length. Cell numbers are checked by [`Self::build`].
    pub fn set_bucket_table_bytes(&mut self, bytes: &[u8]) -> Result<&mut Self, MapError> {
        let (entries, rest) = bytes.as_chunks::<2>();
        if entries.len() != BUCKET_COUNT || !rest.is_empty() {
            return Err(MapError::BucketTableLength { bytes: bytes.len(), want: BUCKET_TABLE_BYTES });
        }
        let mut buckets = layout::no_bucket_cells();
        for (cell, entry) in buckets.iter_mut().zip(entries) {
            *cell = u16::from_le_bytes(*entry);
        }
        self.buckets = Some(buckets);
        Ok(self)
    }

    /// Sets the reserved buckets from their stored form ([`CellMap::reserved_bytes`]).
    ///
    /// # Errors
    /// If it has another length.
    pub fn set_reserved_bytes(&mut self, bytes: &[u8]) -> Result<&mut Self, MapError> {
        let wrong = MapError::ReservedLength { bytes: bytes.len(), want: ReservedBuckets::BYTES };
        self.reserved = ReservedBuckets::from_bytes(bytes.try_into().map_err(|_| wrong)?);
        Ok(self)
    }

    /// Adds a user's pin, or a tombstone if `cell` is `None`: to read a stored map.
    ///
    /// # Errors
    /// If the user has one, there is no such cell, or the epoch is 0.
    pub fn add_pin(
        &mut self,
        key: UserKey,
        cell: Option<&CellId>,
        user_epoch: UserEpoch,
    ) -> Result<&mut Self, MapError> {
        let hash = KeyHash::of(key.as_bytes());
        if self.known_pin(hash, &key).is_some() {
            return Err(MapError::DuplicatePin { key });
        }
        self.put_pin(hash, key, cell, user_epoch)
    }

    /// Pins a user to a cell.
    ///
    /// # Errors
    /// If there is no such cell or the map knows this epoch or a higher one (OWN-19).
    pub fn pin(&mut self, key: UserKey, cell: &CellId, user_epoch: UserEpoch) -> Result<&mut Self, MapError> {
        self.raise_pin(key, Some(cell), user_epoch)
    }

    /// Drops a user's pin; a tombstone keeps the epoch.
    ///
    /// # Errors
    /// If the map knows this epoch or a higher one (OWN-19).
    pub fn drop_pin(&mut self, key: UserKey, user_epoch: UserEpoch) -> Result<&mut Self, MapError> {
        self.raise_pin(key, None, user_epoch)
    }

    /// Applies a row of a cell's publication outbox (OWN-19): the user's data opened in `cell` with `user_epoch`;
    /// `pin_needed` says that the bucket's row there is not home.
    ///
    /// # Errors
    /// If there is no such cell or the epoch is 0. A claim that the map outranks is no error but [`Applied::Stale`].
    pub fn publish(
        &mut self,
        key: UserKey,
        cell: &CellId,
        user_epoch: UserEpoch,
        pin_needed: bool,
    ) -> Result<Applied, MapError> {
        let index = self.index_of("a publication", cell)?;
        let hash = KeyHash::of(key.as_bytes());
        if self.known_pin(hash, &key).is_some_and(|known| user_epoch <= known.user_epoch) {
            return Ok(Applied::Stale);
        }
        let buckets = self.buckets.as_ref().ok_or(MapError::NoLayout)?;
        let at_home = !pin_needed && buckets[hash.bucket().index()] == index.get();
        self.put_pin(hash, key, (!at_home).then_some(cell), user_epoch)?;
        Ok(if at_home { Applied::Dropped } else { Applied::Pinned })
    }

    /// Lets this version re-home more users than the publisher's guard permits, and records why.
    pub fn force(&mut self, reason: &str) -> &mut Self {
        self.forced_reason = Some(reason.to_owned());
        self
    }

    fn index_of(&self, what: &'static str, id: &CellId) -> Result<CellIndex, MapError> {
        let index = self.numbers.get(id).copied();
        index.ok_or_else(|| MapError::UnknownCell { what, cell: id.clone() })
    }

    fn put_distance(&mut self, a: &RegionId, b: &RegionId, rtt: Duration) -> Result<Option<u32>, MapError> {
        if a == b {
            return Err(MapError::SelfDistance { region: a.clone() });
        }
        let too_long = |_| MapError::DistanceTooLong { a: a.clone(), b: b.clone() };
        Ok(self.distances.set(a, b, u32::try_from(rtt.as_micros()).map_err(too_long)?))
    }

    fn known_pin(&self, hash: KeyHash, key: &UserKey) -> Option<PinValue> {
        let changed = self.pin_changes.get(&(hash, key.clone())).copied();
        changed.or_else(|| self.pins.find(hash, key.as_bytes()))
    }

    fn raise_pin(&mut self, key: UserKey, cell: Option<&CellId>, user_epoch: UserEpoch) -> Result<&mut Self, MapError> {
        let hash = KeyHash::of(key.as_bytes());
        match self.known_pin(hash, &key) {
            Some(PinValue { user_epoch: known, .. }) if user_epoch <= known => {
                Err(MapError::StalePin { key, known, offered: user_epoch })
            }
            _ => self.put_pin(hash, key, cell, user_epoch),
        }
    }

    fn put_pin(
        &mut self,
        hash: KeyHash,
        key: UserKey,
        cell: Option<&CellId>,
        user_epoch: UserEpoch,
    ) -> Result<&mut Self, MapError> {
        if user_epoch == UserEpoch::ZERO {
            return Err(MapError::PinEpochZero { key });
        }
        let cell = cell.map(|id| self.index_of("a pin", id)).transpose()?;
        if self.pins.len() + self.pin_changes.len() >= MAX_PINS {
            return Err(MapError::TooManyPins { max: MAX_PINS });
        }
        self.pin_changes.insert((hash, key), PinValue { cell, user_epoch });
        Ok(self)
    }

    /// Merges the changes into the table.
    fn settle_pins(&mut self) {
        if !self.pin_changes.is_empty() {
            self.pins = Arc::new(self.pins.merged(&self.pin_changes));
            self.pin_changes.clear();
        }
    }
}

fn number(cells: &[Cell]) -> BTreeMap<CellId, CellIndex> {
    cells.iter().enumerate().map(|(index, cell)| (cell.id.clone(), CellIndex::new(index as u16))).collect()
}
