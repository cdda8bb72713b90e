//! The follow check, on what a stream of `shop.follow.v1` told.

use std::collections::HashSet;

/// One message of the stream, as far as it changes whom a user follows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FollowChange {
    /// Everything that is known goes first: the first piece of a snapshot.
    pub snapshot_start: bool,
    /// The snapshot is complete with this piece.
    pub snapshot_end: bool,
    /// Whom he follows from now on.
    pub followed: Vec<String>,
    /// Whom he follows no longer.
    pub unfollowed: Vec<String>,
}

/// Whom one user follows. Nothing is known before the first snapshot, nor while another one is under way.
#[derive(Clone, Debug, Default)]
pub struct Following {
    targets: HashSet<Box<str>>,
    complete: bool,
    bytes: usize,
}

impl Following {
    /// Takes the next message of the stream.
    pub fn apply(&mut self, change: FollowChange) {
        if change.snapshot_start {
            *self = Self::default();
        }
        for target in change.followed {
            let bytes = target.len();
            if self.targets.insert(target.into_boxed_str()) {
                self.bytes += bytes;
            }
        }
        for target in &change.unfollowed {
            if self.targets.remove(target.as_str()) {
                self.bytes -= target.len();
            }
        }
        self.complete |= change.snapshot_end;
    }

    /// Whether he follows `target`; `None` if that is not known.
    #[must_use]
    pub fn check(&self, target: &str) -> Option<bool> {
        self.complete.then(|| self.targets.contains(target))
    }

    /// How many he follows, as far as told.
    #[must_use]
    pub fn len(&self) -> usize {
        self.targets.len()
    }

    /// Whether he follows nobody, as far as told.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    /// Memory that it takes, in bytes: the ids, a pointer for each slot of the table, and a byte of the table's own.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes + self.targets.capacity() * (size_of::<Box<str>>() + 1)
    }

    /// Whom he follows, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.targets.iter().map(AsRef::as_ref)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn change(start: bool, end: bool, followed: &[&str], unfollowed: &[&str]) -> FollowChange {
        let owned = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect();
        FollowChange {
            snapshot_start: start,
            snapshot_end: end,
            followed: owned(followed),
            unfollowed: owned(unfollowed),
        }
    }

    #[test]
    fn nothing_is_known_before_the_end_of_a_snapshot() {
        let mut following = Following::default();
        assert_eq!(following.check("bob"), None);
        following.apply(change(true, false, &["bob"], &[]));
        assert_eq!(following.check("bob"), None);
        following.apply(change(false, true, &["cid"], &[]));
        assert_eq!((following.check("bob"), following.check("dan")), (Some(true), Some(false)));
        following.apply(change(false, false, &["dan"], &["bob"]));
        assert_eq!((following.check("bob"), following.check("dan")), (Some(false), Some(true)));
        following.apply(change(true, false, &["eve"], &[]));
        assert_eq!((following.check("cid"), following.len()), (None, 1), "a new snapshot begins with nothing");
    }

    proptest! {
        /// Repeated and pointless changes included, it holds what a set of texts would, and counts its bytes.
        #[test]
        fn it_is_a_set(steps in prop::collection::vec((any::<bool>(), "[a-d]{1,3}"), 0..60)) {
            let (mut following, mut set) = (Following::default(), BTreeSet::new());
            following.apply(change(true, true, &[], &[]));
            for (follow, id) in steps {
                if follow {
                    following.apply(change(false, false, &[&id], &[]));
                    set.insert(id.clone());
                } else {
                    following.apply(change(false, false, &[], &[&id]));
                    set.remove(&id);
                }
                prop_assert_eq!(following.check(&id), Some(set.contains(&id)));
            }
            prop_assert_eq!(following.iter().collect::<BTreeSet<_>>(), set.iter().map(String::as_str).collect());
            prop_assert_eq!(following.bytes, set.iter().map(String::len).sum::<usize>());
        }
    }
}
