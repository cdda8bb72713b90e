//! Buckets: the 65,536 slots that keys hash into.

use crate::UserKey;
use std::fmt;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Number of buckets. Never changes: it is part of every stored map and database.
pub const BUCKET_COUNT: usize = 65_536;

/// Seed of the bucket hash (`cellmesh` in ASCII). Never changes, golden vectors pin it.
const SEED: u64 = u64::from_be_bytes(*b"cellmesh");

/// One of the [`BUCKET_COUNT`] slots a key may fall in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BucketId(u16);

impl BucketId {
    /// The bucket with this number.
    #[must_use]
    pub const fn new(number: u16) -> Self {
        Self(number)
    }

    /// The bucket of a key: the top 16 bits of its XXH3-64 hash under a fixed seed.
    #[must_use]
    pub fn of(key: &UserKey) -> Self {
        Self::of_bytes(key.as_bytes())
    }

    /// The bucket of canonical key bytes (OWN-1).
    #[must_use]
    pub fn of_bytes(key: &[u8]) -> Self {
        KeyHash::of(key).bucket()
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }

    /// Its number as an index into a table of [`BUCKET_COUNT`] entries.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// Every bucket, in order.
    pub fn all() -> impl ExactSizeIterator<Item = Self> {
        (0..BUCKET_COUNT).map(|n| Self(n as u16))
    }
}

/// The hash of canonical key bytes: XXH3-64 under the seed that spells `cellmesh`. Its top 16 bits are the bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHash(u64);

impl KeyHash {
    pub(crate) const fn new(hash: u64) -> Self {
        Self(hash)
    }

    /// The hash of a key.
    #[inline]
    #[must_use]
    pub fn of(key: &[u8]) -> Self {
        Self(xxh3_64_with_seed(key, SEED))
    }

    /// All 64 bits.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The bucket.
    #[inline]
    #[must_use]
    pub const fn bucket(self) -> BucketId {
        BucketId((self.0 >> 48) as u16)
    }
}

impl fmt::Display for BucketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
