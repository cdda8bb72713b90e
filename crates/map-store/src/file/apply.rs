//! Publishing the version that has the wanted cells.

use super::{FileStore, Kept};
use crate::{StoreError, format};
use cell_map::{CellMap, Guard, Incarnation, MapEpoch, WantedCells, WantedError};
use mesh_proto::control_v1 as pb;

/// Why wanted cells were not applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// They make no next version.
    #[error(transparent)]
    Wanted(#[from] WantedError),
    /// The store does not give or take a map.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What became of wanted cells.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The map before; `None`: there was none.
    pub before: Option<CellMap>,
    /// The map that has the cells: the same if it had them already.
    pub after: CellMap,
}

impl FileStore {
    /// Publishes the version that has these cells, or with `dry_run` only makes it. `first` begins a history where there is no map;
    /// without it that is an error. `expected` is the epoch of the map that the caller looked at, if he did: only a change asks for it.
    ///
    /// # Errors
    /// If the cells make no next version, the map is another one than expected, another publisher was faster, or the file is
    /// damaged or cannot be written; then the present map stays.
    pub fn apply(
        &self,
        wanted: &WantedCells,
        first: Option<Incarnation>,
        expected: Option<MapEpoch>,
        dry_run: bool,
    ) -> Result<Applied, ApplyError> {
        let before = match (self.load(), first) {
            (Ok(map), _) => Some(map),
            (Err(StoreError::NotFound { .. }), Some(_)) => None,
            (Err(error), _) => return Err(error.into()),
        };
        let next = wanted.version(before.as_ref(), first.unwrap_or(Incarnation::new(1)))?;
        let found = before.as_ref().map(CellMap::epoch);
        match (next, before) {
            (Some(_), _) if expected.is_some() && expected != found => {
                Err(StoreError::Unexpected { expected, found }.into())
            }
            (Some(after), before) => {
                if !dry_run {
                    self.publish(&after, found, Guard::default())?;
                }
                Ok(Applied { before, after })
            }
            (None, Some(map)) => Ok(Applied { before: Some(map.clone()), after: map }),
            // The first version differs from no map.
            (None, None) => Err(StoreError::NotFound { path: self.path.clone() }.into()),
        }
    }

    /// The cells that were last noted here by [`Self::note_applied`]: whoever applies the same ones at each start tells by them
    /// whether they are news, for the map may have been changed by others since. `None` if none were, or the note is damaged.
    #[must_use]
    pub fn last_applied(&self) -> Option<pb::WantedCells> {
        self.note().read().ok()
    }

    /// Notes cells as applied, beside the map (`<path>.applied`).
    ///
    /// # Errors
    /// If the disk fails.
    pub fn note_applied(&self, wanted: &pb::WantedCells) -> Result<(), StoreError> {
        self.note().write(wanted)
    }

    fn note(&self) -> Kept {
        Kept::at(self.beside("applied"), format::WANTED)
    }
}
