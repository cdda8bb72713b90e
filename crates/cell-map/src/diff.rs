//! What changed between two maps.

use crate::{BucketId, CellId, CellIndex, CellMap, KeyHash, Pin, UserEpoch, UserKey};
use std::{cmp::Ordering, collections::BTreeMap};

/// What changed between two maps. Cells are compared by name, so another order of the list is no change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MapDiff {
    /// Cells that only the new map has, by name.
    pub cells_added: Vec<CellId>,
    /// Cells that only the old map has, by name.
    pub cells_removed: Vec<CellId>,
    /// Cells whose region, weight, state or endpoints differ, by name.
    pub cells_changed: Vec<CellId>,
    /// Buckets with another home, in order.
    pub buckets_moved: Vec<BucketMove>,
    /// Buckets that became reserved or mintable, in order.
    pub reserved_changed: Vec<BucketId>,
    /// Users whose pin differs, in the order of the keys' hashes.
    pub pins_changed: Vec<PinChange>,
    /// Whether any distance differs.
    pub distances_changed: bool,
    /// The global cells, if they differ: (old, new).
    pub global_cell: Option<(CellId, CellId)>,
}

/// A bucket with another home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketMove {
    /// The bucket.
    pub bucket: BucketId,
    /// Old home.
    pub from: CellId,
    /// New home.
    pub to: CellId,
}

/// A user whose pin differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinChange {
    /// The user.
    pub key: UserKey,
    /// Home in the old map.
    pub from: CellId,
    /// Home in the new map; the same if only the reason or the epoch differs.
    pub to: CellId,
    /// What the old map knew.
    pub old_epoch: UserEpoch,
    /// What the new map knows.
    pub new_epoch: UserEpoch,
}

impl PinChange {
    /// Whether the user has another home.
    #[must_use]
    pub fn rehomes(&self) -> bool {
        self.from != self.to
    }
}

impl MapDiff {
    /// Whether nothing changed but, perhaps, epoch, incarnation, order of cells and the reason for forcing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What changed from `old` to `new`.
#[must_use]
pub fn diff(old: &CellMap, new: &CellMap) -> MapDiff {
    let mut out = MapDiff::default();
    let by_name =
        |map: &CellMap| -> BTreeMap<_, _> { map.cells().iter().map(|cell| (cell.id.clone(), cell.clone())).collect() };
    let (old_cells, new_cells) = (by_name(old), by_name(new));
    for (id, cell) in &new_cells {
        match old_cells.get(id) {
            None => out.cells_added.push(id.clone()),
            Some(before) if before != cell => out.cells_changed.push(id.clone()),
            Some(_) => {}
        }
    }
    out.cells_removed = old_cells.keys().filter(|id| !new_cells.contains_key(id)).cloned().collect();

    // Numbers of the new map by those of the old: 65,536 comparisons of numbers instead of names.
    let renumbered: Vec<Option<CellIndex>> = old.cells().iter().map(|cell| new.index_of(&cell.id)).collect();
    for bucket in BucketId::all() {
        if renumbered[old.bucket_cell(bucket).index()] != Some(new.bucket_cell(bucket)) {
            let (from, to) = (old.bucket_home(bucket).id.clone(), new.bucket_home(bucket).id.clone());
            out.buckets_moved.push(BucketMove { bucket, from, to });
        }
        if old.is_reserved(bucket) != new.is_reserved(bucket) {
            out.reserved_changed.push(bucket);
        }
    }

    let known = |pin: &Pin<'_>, of: &[Option<CellIndex>]| {
        (pin.cell.map(|cell| of.get(cell.index()).copied().flatten()), pin.user_epoch)
    };
    let same_numbers: Vec<_> = new.cells().iter().map(|cell| new.index_of(&cell.id)).collect();
    join(old, new, |key, before, after| {
        if before.map(|pin| known(&pin, &renumbered)) == after.map(|pin| known(&pin, &same_numbers)) {
            return;
        }
        let epoch = |pin: Option<Pin<'_>>| pin.map_or(UserEpoch::ZERO, |pin| pin.user_epoch);
        out.pins_changed.push(PinChange {
            key: UserKey::from_bytes(key).expect("a map's pins are of user keys"),
            from: old.home(key).cell.id.clone(),
            to: new.home(key).cell.id.clone(),
            old_epoch: epoch(before),
            new_epoch: epoch(after),
        });
    });

    out.distances_changed = old.distances().ne(new.distances());
    let (from, to) = (&old.global_cell().id, &new.global_cell().id);
    out.global_cell = (from != to).then(|| (from.clone(), to.clone()));
    out
}

/// Calls `visit` for every key with a pin in either map; both lists are in one order.
fn join<'a>(old: &'a CellMap, new: &'a CellMap, mut visit: impl FnMut(&'a [u8], Option<Pin<'a>>, Option<Pin<'a>>)) {
    let (mut old, mut new) = (old.pins.iter().peekable(), new.pins.iter().peekable());
    let place = |(hash, pin): &(KeyHash, Pin<'a>)| (*hash, pin.key);
    loop {
        let order = match (old.peek(), new.peek()) {
            (Some(a), Some(b)) => place(a).cmp(&place(b)),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return,
        };
        let before = if order.is_le() { old.next() } else { None }.map(|(_, pin)| pin);
        let after = if order.is_ge() { new.next() } else { None }.map(|(_, pin)| pin);
        if let Some(pin) = before.or(after) {
            visit(pin.key, before, after);
        }
    }
}
