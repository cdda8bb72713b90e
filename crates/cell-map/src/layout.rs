//! Layout: which cell each bucket is homed in, and which buckets are reserved.

use crate::{BUCKET_COUNT, BucketId};

/// One bucket in this many is born reserved (OWN-10).
pub(crate) const RESERVED_ONE_IN: usize = 8;

const WORDS: usize = BUCKET_COUNT / 64;

/// Cell numbers of all buckets.
pub(crate) type BucketCells = [u16; BUCKET_COUNT];

/// All entries 0, made on the heap.
pub(crate) fn no_bucket_cells() -> Box<BucketCells> {
    vec![0; BUCKET_COUNT].into_boxed_slice().try_into().expect("the vector has BUCKET_COUNT entries")
}

/// One bit a bucket: nothing is minted there (OWN-10).
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ReservedBuckets([u64; WORDS]);

impl ReservedBuckets {
    /// Bytes of the wire form.
    pub(crate) const BYTES: usize = BUCKET_COUNT / 8;

    pub(crate) const NONE: Self = Self([0; WORDS]);

    pub(crate) fn contains(&self, bucket: BucketId) -> bool {
        self.0[bucket.index() / 64] & (1 << (bucket.index() % 64)) != 0
    }

    pub(crate) fn set(&mut self, bucket: BucketId, reserved: bool) {
        let (word, bit) = (&mut self.0[bucket.index() / 64], 1 << (bucket.index() % 64));
        if reserved { *word |= bit } else { *word &= !bit }
    }

    /// Least significant bit first.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    pub(crate) fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let mut out = Self::NONE;
        for (word, bytes) in out.0.iter_mut().zip(bytes.as_chunks().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        out
    }
}

/// An even first layout: each cell gets its weight's share of the buckets that mint and, separately, of those born
/// reserved, as one run of each. `None` if no cell has weight.
pub(crate) fn spread(weights: &[u32]) -> Option<(Box<BucketCells>, ReservedBuckets)> {
    if weights.iter().all(|weight| *weight == 0) {
        return None;
    }
    let mut cells = no_bucket_cells();
    let mut reserved = ReservedBuckets::NONE;
    let born_reserved = |bucket: BucketId| bucket.index() % RESERVED_ONE_IN == RESERVED_ONE_IN - 1;
    for kind in [false, true] {
        let buckets: Vec<_> = BucketId::all().filter(|bucket| born_reserved(*bucket) == kind).collect();
        let homes = shares(weights, buckets.len());
        for (bucket, home) in buckets.into_iter().zip(homes) {
            cells[bucket.index()] = home;
            reserved.set(bucket, kind);
        }
    }
    Some((cells, reserved))
}

/// Splits `slots` into runs in proportion to `weights`, each less than one slot off its exact share.
fn shares(weights: &[u32], slots: usize) -> impl Iterator<Item = u16> {
    let total: u128 = weights.iter().map(|weight| u128::from(*weight)).sum();
    let mut before = 0_u128;
    let mut taken = 0_u128;
    weights.iter().enumerate().flat_map(move |(cell, weight)| {
        before += u128::from(*weight);
        let end = before * slots as u128 / total;
        let count = end - taken;
        taken = end;
        std::iter::repeat_n(cell as u16, count as usize)
    })
}
