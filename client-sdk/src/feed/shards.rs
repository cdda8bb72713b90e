//! A map of users that is read on each call and written seldom: readers take no lock and write nothing that others read.

use arc_swap::ArcSwap;
use hashbrown::{DefaultHashBuilder, HashTable};
use std::{
    hash::BuildHasher,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

/// About how many entries a shard has when the map is full: a write copies one shard.
const SHARD: usize = 32;

/// What stands in a map.
pub(crate) trait Keyed {
    /// Its key.
    fn key(&self) -> &[u8];
    /// What [`Shards::hash`] made of its key.
    fn hash(&self) -> u64;
    /// When it was last used, roughly.
    fn used(&self) -> u32;
}

/// The map.
#[derive(Debug)]
pub(crate) struct Shards<E> {
    hasher: DefaultHashBuilder,
    shards: Box<[Shard<E>]>,
    len: AtomicUsize,
}

#[derive(Debug)]
struct Shard<E> {
    entries: ArcSwap<HashTable<Arc<E>>>,
    writing: Mutex<()>,
}

impl<E: Keyed> Shards<E> {
    /// For about so many entries.
    pub fn new(capacity: usize) -> Self {
        let count = (capacity / SHARD).clamp(1, 1 << 16).next_power_of_two();
        let shard = |_| Shard { entries: ArcSwap::from_pointee(HashTable::new()), writing: Mutex::new(()) };
        Self {
            hasher: DefaultHashBuilder::default(),
            shards: (0..count).map(shard).collect(),
            len: AtomicUsize::new(0),
        }
    }

    pub fn len(&self) -> usize {
        self.len.load(Relaxed)
    }

    pub fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash_one(key)
    }

    /// Looks at an entry.
    pub fn read<R>(&self, key: &[u8], hash: u64, look: impl FnOnce(&E) -> R) -> Option<R> {
        let entries = self.shard(hash).entries.load();
        entries.find(hash, |entry| entry.key() == key).map(|entry| look(entry))
    }

    /// Puts an entry in, unless there is one. True if it was put in.
    pub fn insert(&self, key: &[u8], hash: u64, make: impl FnOnce() -> Arc<E>) -> bool {
        let shard = self.shard(hash);
        let _writing = shard.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = shard.entries.load();
        if before.find(hash, |entry| entry.key() == key).is_some() {
            return false;
        }
        let mut entries = HashTable::clone(&before);
        entries.insert_unique(hash, make(), |entry| entry.hash());
        shard.entries.store(Arc::new(entries));
        self.len.fetch_add(1, Relaxed);
        true
    }

    /// Takes out what is not to stay.
    pub fn retain(&self, stays: impl Fn(&E) -> bool) -> Vec<Arc<E>> {
        self.shards.iter().flat_map(|shard| self.retain_in(shard, |entry| stays(entry))).collect()
    }

    /// Takes this very entry out. False if it was not there any more.
    pub fn remove(&self, gone: &Arc<E>) -> bool {
        !self.retain_in(self.shard(gone.hash()), |entry| !Arc::ptr_eq(entry, gone)).is_empty()
    }

    /// The least recently used among the entries of a few shards, `chance` says which; all of them in a small map.
    pub fn old(&self, chance: u64, candidate: impl Fn(&E) -> bool) -> Option<Arc<E>> {
        let shards =
            (0..self.shards.len()).map(|at| &self.shards[(chance as usize).wrapping_add(at) % self.shards.len()]);
        let mut seen = 0;
        let mut oldest: Option<Arc<E>> = None;
        for shard in shards {
            for entry in shard.entries.load().iter().filter(|entry| candidate(entry)) {
                seen += 1;
                if oldest.as_ref().is_none_or(|oldest| entry.used() < oldest.used()) {
                    oldest = Some(Arc::clone(entry));
                }
            }
            if seen >= 4 * SHARD {
                break;
            }
        }
        oldest
    }

    fn shard(&self, hash: u64) -> &Shard<E> {
        // Other bits than those that the tables use.
        &self.shards[(hash >> 32) as usize & (self.shards.len() - 1)]
    }

    fn retain_in(&self, shard: &Shard<E>, mut stays: impl FnMut(&Arc<E>) -> bool) -> Vec<Arc<E>> {
        let _writing = shard.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = shard.entries.load();
        let gone: Vec<_> = before.iter().filter(|entry| !stays(entry)).cloned().collect();
        if !gone.is_empty() {
            let mut entries = HashTable::clone(&before);
            entries.retain(|entry| !gone.iter().any(|gone| Arc::ptr_eq(entry, gone)));
            shard.entries.store(Arc::new(entries));
            self.len.fetch_sub(gone.len(), Relaxed);
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::{collections::BTreeMap, sync::atomic::AtomicU32};

    struct Entry {
        key: Vec<u8>,
        hash: u64,
        used: AtomicU32,
    }

    impl Keyed for Entry {
        fn key(&self) -> &[u8] {
            &self.key
        }
        fn hash(&self) -> u64 {
            self.hash
        }
        fn used(&self) -> u32 {
            self.used.load(Relaxed)
        }
    }

    fn put(map: &Shards<Entry>, key: &[u8], used: u32) -> bool {
        let hash = map.hash(key);
        map.insert(key, hash, || Arc::new(Entry { key: key.to_vec(), hash, used: AtomicU32::new(used) }))
    }

    fn used(map: &Shards<Entry>, key: &[u8]) -> Option<u32> {
        map.read(key, map.hash(key), Keyed::used)
    }

    #[derive(Clone, Debug)]
    enum Step {
        Put(u8, u32),
        Remove(u8),
        Retain(u32),
        RemoveOldest(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (any::<u8>(), 0u32..100).prop_map(|(key, used)| Step::Put(key, used)),
            1 => any::<u8>().prop_map(Step::Remove),
            1 => (0u32..100).prop_map(Step::Retain),
            2 => any::<u64>().prop_map(Step::RemoveOldest),
        ];
        prop::collection::vec(step, 0..200)
    }

    proptest! {
        /// It is a map; and as long as it is not larger than a sample, the oldest is the oldest.
        #[test]
        fn it_holds_what_was_put_in_and_not_taken_out(capacity in 0usize..2000, steps in steps()) {
            let map = Shards::new(capacity);
            let mut model = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Put(key, used) => {
                        prop_assert_eq!(put(&map, &[key], used), !model.contains_key(&key));
                        model.entry(key).or_insert(used);
                    }
                    Step::Remove(key) => {
                        let entry = map.old(0, |entry| entry.key == [key]);
                        prop_assert_eq!(entry.is_some(), model.remove(&key).is_some());
                        if let Some(entry) = entry {
                            prop_assert!(map.remove(&entry) && !map.remove(&entry));
                        }
                    }
                    Step::Retain(least) => {
                        let gone = map.retain(|entry| entry.used() >= least).len();
                        let before = model.len();
                        model.retain(|_, used| *used >= least);
                        prop_assert_eq!(gone, before - model.len());
                    }
                    Step::RemoveOldest(chance) => {
                        let Some(oldest) = map.old(chance, |_| true) else {
                            prop_assert!(model.is_empty());
                            continue;
                        };
                        if model.len() < 4 * SHARD {
                            prop_assert_eq!(Some(oldest.used()), model.values().min().copied());
                        }
                        prop_assert!(map.remove(&oldest));
                        model.remove(&oldest.key[0]);
                    }
                }
                prop_assert_eq!(map.len(), model.len());
            }
            for key in 0..=u8::MAX {
                prop_assert_eq!(used(&map, &[key]), model.get(&key).copied());
            }
        }
    }

    #[test]
    fn readers_see_every_entry_while_others_come_and_go() {
        let map = Shards::new(64);
        for key in 0..32u8 {
            assert!(put(&map, &[key], u32::MAX));
        }
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for round in 0..2000u32 {
                    put(&map, &(1000 + round).to_be_bytes(), 0);
                    if round % 16 == 0 {
                        map.retain(|entry| entry.used() > 0);
                    }
                }
            });
            while !writer.is_finished() {
                assert!((0..32u8).all(|key| used(&map, &[key]).is_some()));
            }
        });
    }
}
