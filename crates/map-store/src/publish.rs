//! The decision to publish, the same in every store.

use crate::StoreError;
use cell_map::{Admission, AdmitError, CellMap, Guard, Incarnation, MapEpoch, Moved, admit, check_guard};

/// Whether `new` may replace `current`, which the publisher believes to have epoch `expected`. `adopt` allows the map
/// to begin this incarnation.
pub(crate) fn check(
    current: Option<&CellMap>,
    new: &CellMap,
    expected: Option<MapEpoch>,
    guard: Guard,
    adopt: Option<Incarnation>,
) -> Result<Moved, StoreError> {
    let found = current.map(CellMap::epoch);
    if found != expected {
        return Err(StoreError::Unexpected { expected, found });
    }
    let Some(current) = current else { return Ok(Moved::default()) };
    match admit(current, new) {
        Admission::Newer => {}
        Admission::Same => return Err(StoreError::Published(new.epoch())),
        Admission::Refused(AdmitError::OtherIncarnation { current, offered })
            if offered > current && adopt == Some(offered) => {}
        Admission::Refused(error) => return Err(error.into()),
    }
    Ok(check_guard(current, new, guard)?)
}
