//! Pins: users homed elsewhere than their bucket.

use crate::{CellIndex, UserEpoch, UserKey, bucket::KeyHash};
use std::collections::BTreeMap;

/// Most pins of one map.
pub(crate) const MAX_PINS: usize = 1 << 24;

/// Cell number of a dropped pin.
const DROPPED: u16 = u16::MAX;

/// What a map says of one user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin<'a> {
    /// Canonical key bytes.
    pub key: &'a [u8],
    /// Home; `None` for a tombstone: the pin was dropped, the bucket decides, and only the epoch is kept (OWN-19).
    pub cell: Option<CellIndex>,
    /// Orders the owners of this user.
    pub user_epoch: UserEpoch,
}

/// One record of the table, 24 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slot {
    hash: u64,
    user_epoch: u64,
    key_at: u32,
    key_len: u16,
    cell: u16,
}

/// What a draft says of one user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PinValue {
    pub(crate) cell: Option<CellIndex>,
    pub(crate) user_epoch: UserEpoch,
}

/// A draft's pins, in the table's order.
pub(crate) type PinChanges = BTreeMap<(KeyHash, UserKey), PinValue>;

/// All pins in the order of (hash, key). A bucket is the top of the hash, so its pins lie together; within them a
/// binary search keeps lookups short even when someone has chosen keys that fall into one bucket.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct PinTable {
    slots: Vec<Slot>,
    keys: Vec<u8>,
    /// Where each bucket's slots begin, and one entry past the last; empty while there are no pins.
    starts: Vec<u32>,
}

impl PinTable {
    pub(crate) const fn empty() -> Self {
        Self { slots: Vec::new(), keys: Vec::new(), starts: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The user's record. `hash` is the key's.
    pub(crate) fn find(&self, hash: KeyHash, key: &[u8]) -> Option<PinValue> {
        let bucket = hash.bucket().index();
        let (from, to) = (*self.starts.get(bucket)? as usize, *self.starts.get(bucket + 1)? as usize);
        let run = self.slots.get(from..to)?;
        let first = run.partition_point(|slot| slot.hash < hash.get());
        let mut same_hash = run[first..].iter().take_while(|slot| slot.hash == hash.get());
        same_hash.find(|slot| self.key(slot) == key).map(Slot::value)
    }

    /// Whether the bucket with this number has a record.
    pub(crate) fn touches(&self, bucket: usize) -> bool {
        !self.slots.is_empty() && self.starts[bucket] != self.starts[bucket + 1]
    }

    /// Every record with its hash, in order.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (KeyHash, Pin<'_>)> {
        self.slots.iter().map(|slot| {
            let PinValue { cell, user_epoch } = slot.value();
            (KeyHash::new(slot.hash), Pin { key: self.key(slot), cell, user_epoch })
        })
    }

    /// This table with `changes` put over it.
    pub(crate) fn merged(&self, changes: &PinChanges) -> Self {
        let mut out = Self::empty();
        out.slots.reserve_exact(self.len() + changes.len());
        out.keys.reserve(self.keys.len());
        let mut changes = changes.iter().peekable();
        for slot in &self.slots {
            let key = self.key(slot);
            let here = (slot.hash, key);
            while let Some(((hash, changed), value)) = changes.next_if(|((h, k), _)| (h.get(), k.as_bytes()) < here) {
                out.push(*hash, changed.as_bytes(), *value);
            }
            match changes.next_if(|((h, k), _)| (h.get(), k.as_bytes()) == here) {
                Some((_, value)) => out.push(KeyHash::new(slot.hash), key, *value),
                None => out.push(KeyHash::new(slot.hash), key, slot.value()),
            }
        }
        for ((hash, key), value) in changes {
            out.push(*hash, key.as_bytes(), *value);
        }
        out.index();
        out
    }

    /// This table with every cell number changed by `renumber`, for a map that lost a cell.
    pub(crate) fn renumbered(&self, renumber: impl Fn(u16) -> u16) -> Self {
        let mut out = self.clone();
        for slot in out.slots.iter_mut().filter(|slot| slot.cell != DROPPED) {
            slot.cell = renumber(slot.cell);
        }
        out
    }

    fn key(&self, slot: &Slot) -> &[u8] {
        &self.keys[slot.key_at as usize..][..slot.key_len as usize]
    }

    fn push(&mut self, hash: KeyHash, key: &[u8], value: PinValue) {
        self.slots.push(Slot {
            hash: hash.get(),
            user_epoch: value.user_epoch.get(),
            // MAX_PINS keys of UserKey::MAX_LEN bytes are 2^32 bytes, so the last key begins below that.
            key_at: u32::try_from(self.keys.len()).expect("MAX_PINS keys fit 32-bit offsets"),
            key_len: u16::try_from(key.len()).expect("a user key has at most 256 bytes"),
            cell: value.cell.map_or(DROPPED, CellIndex::get),
        });
        self.keys.extend_from_slice(key);
    }

    /// Fills `starts`; the slots are in order.
    fn index(&mut self) {
        if self.slots.is_empty() {
            return;
        }
        self.starts = vec![0; crate::BUCKET_COUNT + 1];
        for slot in &self.slots {
            self.starts[KeyHash::new(slot.hash).bucket().index() + 1] += 1;
        }
        for bucket in 0..crate::BUCKET_COUNT {
            self.starts[bucket + 1] += self.starts[bucket];
        }
    }
}

impl Slot {
    fn value(&self) -> PinValue {
        let cell = (self.cell != DROPPED).then_some(CellIndex::new(self.cell));
        PinValue { cell, user_epoch: UserEpoch::new(self.user_epoch) }
    }
}
