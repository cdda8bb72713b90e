//! Identity of a map's content.

use super::CellMap;
use std::fmt;

/// Identity of a map's content: BLAKE3 of everything in it in a fixed order, so that two routers that hold one epoch
/// with different content notice. Collision-proof on purpose: pinned keys may come from outside.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ContentHash([u8; 32]);

impl ContentHash {
    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Of a map whose `hash` is not set yet.
    pub(crate) fn of(map: &CellMap) -> Self {
        let mut hash = Fields::new();
        hash.number(map.incarnation.get());
        hash.number(map.epoch.get());
        hash.number(map.cells.len() as u64);
        for cell in map.cells.iter() {
            hash.text(cell.id.as_str());
            hash.text(cell.region.as_str());
            hash.number(cell.weight.into());
            hash.text(&cell.state.to_string());
            for endpoints in [&cell.peer_endpoints, &cell.front_endpoints] {
                hash.number(endpoints.len() as u64);
                endpoints.iter().for_each(|endpoint| hash.text(endpoint));
            }
        }
        hash.bytes(&map.bucket_table_bytes());
        hash.bytes(&map.reserved_bytes());
        hash.number(map.pins.len() as u64);
        for (_, pin) in map.pins.iter() {
            hash.bytes(pin.key);
            // Cell numbers begin at 1 here, 0 is a tombstone.
            hash.number(pin.cell.map_or(0, |cell| u64::from(cell.get()) + 1));
            hash.number(pin.user_epoch.get());
        }
        hash.number(map.distances.iter().len() as u64);
        for (a, b, rtt_us) in map.distances.iter() {
            hash.text(a.as_str());
            hash.text(b.as_str());
            hash.number(rtt_us.into());
        }
        hash.number(map.global.get().into());
        hash.text(map.forced_reason().unwrap_or_default());
        Self(hash.finish())
    }

    pub(crate) const UNSET: Self = Self([0; 32]);
}

/// In hexadecimal.
impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentHash({self})")
    }
}

/// Bytes gathered before they are hashed: BLAKE3 is at its best with long inputs.
const GATHER: usize = 64 << 10;

/// Every field has a fixed length or says its length first, so no two contents give the same bytes.
struct Fields {
    hasher: blake3::Hasher,
    gathered: Vec<u8>,
}

impl Fields {
    fn new() -> Self {
        let hasher = blake3::Hasher::new_derive_key("cellmesh 2026 cell map content v1");
        Self { hasher, gathered: Vec::with_capacity(GATHER) }
    }

    fn number(&mut self, number: u64) {
        self.put(&number.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.put(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn put(&mut self, bytes: &[u8]) {
        if self.gathered.len() + bytes.len() > GATHER {
            self.hasher.update(&self.gathered);
            self.gathered.clear();
        }
        if bytes.len() > GATHER {
            self.hasher.update(bytes);
        } else {
            self.gathered.extend_from_slice(bytes);
        }
    }

    fn finish(mut self) -> [u8; 32] {
        self.hasher.update(&self.gathered);
        *self.hasher.finalize().as_bytes()
    }
}
