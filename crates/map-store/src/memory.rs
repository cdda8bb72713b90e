//! A store in memory, for tests and single processes.

use crate::{MapSource, Stamp, StoreError, publish};
use cell_map::{CellMap, Guard, Incarnation, MapEpoch, Moved};
use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// A map in memory. Clones are one store.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    map: Option<CellMap>,
    changes: u64,
}

impl MemoryStore {
    /// A store without a map.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A store that has a map.
    #[must_use]
    pub fn with(map: CellMap) -> Self {
        Self(Arc::new(Mutex::new(State { map: Some(map), changes: 1 })))
    }

    /// Publishes the next version. `expected` is the epoch that `new` was built upon, `None` for the first map.
    ///
    /// # Errors
    /// If another publisher was faster, consumers would refuse the map, or the guard stops it.
    pub fn publish(&self, new: &CellMap, expected: Option<MapEpoch>, guard: Guard) -> Result<Moved, StoreError> {
        self.replace(new, expected, guard, None)
    }

    /// Publishes the first version of a new history, which consumers refuse until they adopt it too.
    ///
    /// # Errors
    /// Like [`Self::publish`], or if the incarnation is not higher.
    pub fn adopt(&self, new: &CellMap, expected: MapEpoch, guard: Guard) -> Result<Moved, StoreError> {
        self.replace(new, Some(expected), guard, Some(new.incarnation()))
    }

    fn replace(
        &self,
        new: &CellMap,
        expected: Option<MapEpoch>,
        guard: Guard,
        adopt: Option<Incarnation>,
    ) -> Result<Moved, StoreError> {
        let mut state = self.state();
        let moved = publish::check(state.map.as_ref(), new, expected, guard, adopt)?;
        state.map = Some(new.clone());
        state.changes += 1;
        Ok(moved)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is a single assignment, so a panic elsewhere leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MapSource for MemoryStore {
    fn stamp(&self) -> Result<Stamp, StoreError> {
        Ok(Stamp { identity: [self.state().changes, 0, 0, 0], settled: true })
    }

    fn load(&self) -> Result<CellMap, StoreError> {
        self.state().map.clone().ok_or_else(|| StoreError::NotFound { path: PathBuf::from(self.describe()) })
    }

    fn describe(&self) -> String {
        "memory".to_owned()
    }
}
