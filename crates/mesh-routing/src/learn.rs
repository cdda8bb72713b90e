//! What redirects taught: owners that the map does not know yet.

use cell_map::{CellId, CellMap, OwnerEpochs};
use hashbrown::HashMap;

/// A key's owner as a cell named it in `WRONG_CELL`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// The owner.
    pub cell: CellId,
    /// Orders this claim among others about the key.
    pub epochs: OwnerEpochs,
}

/// A bounded memory of redirects, least recently used first to go.
///
/// Two generations approximate the order of use: an entry used since the last turnover is in the young one; when that is
/// full, the old one is dropped and the young one grows old. So at least half of the capacity most recently used is kept.
#[derive(Debug)]
pub struct Learnt {
    young: HashMap<Box<[u8]>, Redirect>,
    old: HashMap<Box<[u8]>, Redirect>,
    half: usize,
}

impl Learnt {
    /// Remembers at most `capacity` redirects (at least two).
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), half: (capacity / 2).max(1) }
    }

    /// How many redirects are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Whether nothing was learnt.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.young.is_empty() && self.old.is_empty()
    }

    /// What is remembered of a key, without counting as a use.
    #[must_use]
    pub fn peek(&self, key: &[u8]) -> Option<&Redirect> {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    /// What is remembered of a key.
    pub fn get(&mut self, key: &[u8]) -> Option<&Redirect> {
        if let Some((key, redirect)) = self.old.remove_entry(key) {
            self.put(key, redirect);
        }
        self.young.get(key)
    }

    /// Learns a claim, unless one that is as new or newer is remembered. True if it was news.
    pub fn learn(&mut self, key: &[u8], redirect: Redirect) -> bool {
        if self.peek(key).is_some_and(|known| !redirect.epochs.newer_than(known.epochs)) {
            return false;
        }
        let key = self.old.remove_entry(key).map_or_else(|| key.into(), |(key, _)| key);
        self.put(key, redirect);
        true
    }

    /// Forgets what a new map says itself, or overrules.
    pub fn settle(&mut self, map: &CellMap) {
        let news = |key: &[u8], redirect: &mut Redirect| overrules(redirect, map, key);
        self.young.retain(|key, redirect| news(key, redirect));
        self.old.retain(|key, redirect| news(key, redirect));
    }

    fn put(&mut self, key: Box<[u8]>, redirect: Redirect) {
        if self.young.len() >= self.half && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, redirect);
    }
}

/// Whether a redirect knows better than the map. The map knows no bucket epochs, so only the user epoch can tell that the map
/// is newer; a redirect that is believed wrongly is corrected by the cell it names, which knows the higher epochs.
#[must_use]
pub fn overrules(redirect: &Redirect, map: &CellMap, key: &[u8]) -> bool {
    let home = map.home(key);
    redirect.epochs.user >= home.user_epoch
        && redirect.cell != home.cell.id
        && (redirect.epochs.user > home.user_epoch || redirect.epochs.user == cell_map::UserEpoch::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cell_map::{BucketEpoch, UserEpoch};

    fn redirect(cell: &str, user: u64, bucket: u64) -> Redirect {
        Redirect {
            cell: CellId::new(cell).expect("a name"),
            epochs: OwnerEpochs::new(UserEpoch::new(user), BucketEpoch::new(bucket)),
        }
    }

    #[test]
    fn the_higher_epoch_is_believed_in_any_order() {
        let claims = [redirect("a", 0, 2), redirect("b", 0, 3), redirect("c", 1, 1), redirect("d", 2, 0)];
        for turn in 0..claims.len() {
            let mut learnt = Learnt::new(8);
            for n in 0..claims.len() {
                learnt.learn(b"k", claims[(n + turn) % claims.len()].clone());
            }
            assert_eq!(learnt.get(b"k"), Some(&claims[3]), "started at {turn}");
        }
    }

    #[test]
    fn a_claim_of_the_same_epochs_is_no_news() {
        let mut learnt = Learnt::new(8);
        assert!(learnt.learn(b"k", redirect("a", 1, 1)));
        assert!(!learnt.learn(b"k", redirect("b", 1, 1)));
        assert_eq!(learnt.len(), 1);
    }

    #[test]
    fn memory_is_bounded_and_keeps_what_is_used() {
        let mut learnt = Learnt::new(100);
        for n in 0..10_000u64 {
            learnt.learn(&n.to_be_bytes(), redirect("a", 1, 0));
            learnt.learn(b"hot", redirect("b", 1, 0));
            assert!(learnt.get(b"hot").is_some(), "lost the hot key after {n}");
            assert!(learnt.len() <= 100, "holds {}", learnt.len());
        }
        assert!(learnt.peek(&9_999u64.to_be_bytes()).is_some());
        assert!(learnt.peek(&1u64.to_be_bytes()).is_none());
    }
}
