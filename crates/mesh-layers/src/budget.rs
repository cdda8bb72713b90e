//! Bytes that may be held in memory: by one connection, and by the whole process.

use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A number of bytes to share. Cheap to clone. Taking never waits: who gets none is refused, so that a flood costs
/// refusals and not memory.
#[derive(Clone, Debug)]
pub struct ByteBudget {
    own: Arc<Semaphore>,
    parent: Option<Arc<Semaphore>>,
}

/// Bytes taken; given back on drop.
#[derive(Debug, Default)]
pub struct Bytes {
    own: Option<OwnedSemaphorePermit>,
    parent: Option<OwnedSemaphorePermit>,
}

impl ByteBudget {
    /// A budget of so many bytes (at most 2^31).
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self { own: Arc::new(Semaphore::new(bytes.min(1 << 31).min(Semaphore::MAX_PERMITS))), parent: None }
    }

    /// A part of this budget: what is taken from it is taken from this one too.
    #[must_use]
    pub fn share(&self, bytes: usize) -> Self {
        Self { parent: Some(Arc::clone(&self.own)), ..Self::new(bytes) }
    }

    /// Takes bytes, if they are there.
    #[must_use]
    pub fn take(&self, bytes: usize) -> Option<Bytes> {
        let bytes = u32::try_from(bytes).ok()?;
        let take = |from: &Arc<Semaphore>| Arc::clone(from).try_acquire_many_owned(bytes).ok();
        let own = take(&self.own)?;
        let parent = match &self.parent {
            Some(parent) => Some(take(parent)?),
            None => None,
        };
        Some(Bytes { own: Some(own), parent })
    }

    /// Bytes that are free in this budget (its parent may have fewer).
    #[must_use]
    pub fn available(&self) -> usize {
        self.own.available_permits()
    }
}

impl Bytes {
    /// Joins what was taken from the same budget.
    pub fn merge(&mut self, other: Self) {
        for (mine, its) in [(&mut self.own, other.own), (&mut self.parent, other.parent)] {
            match (mine.as_mut(), its) {
                (Some(mine), Some(its)) => mine.merge(its),
                (None, its) => *mine = its,
                (Some(_), None) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_never_exceeds_itself_nor_the_whole() {
        let whole = ByteBudget::new(100);
        let (a, b) = (whole.share(80), whole.share(80));
        assert!(a.take(81).is_none());
        let mut held = a.take(40).unwrap();
        held.merge(a.take(20).unwrap());
        assert!(b.take(50).is_none(), "the whole has 40 left");
        assert_eq!(b.available(), 80, "what the whole refuses is given back");
        drop(held);
        assert_eq!((whole.available(), a.available()), (100, 80));
        assert!(b.take(80).is_some());
    }
}
