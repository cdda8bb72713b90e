//! Where maps come from.

use crate::StoreError;
use cell_map::CellMap;

/// Something that a map is read from. Its calls may block.
pub trait MapSource: Send + Sync + 'static {
    /// What tells a changed source from an unchanged one, without reading the map.
    ///
    /// # Errors
    /// If the source cannot be asked or has no map.
    fn stamp(&self) -> Result<Stamp, StoreError>;

    /// The map, whole and checked.
    ///
    /// # Errors
    /// If there is none or it is damaged.
    fn load(&self) -> Result<CellMap, StoreError>;

    /// A copy to start with when [`Self::load`] fails; `None` if the source keeps none.
    fn last_good(&self) -> Option<CellMap> {
        None
    }

    /// What it is, for logs.
    fn describe(&self) -> String;
}

/// Tells a changed source from an unchanged one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Numbers that change when the source does.
    pub identity: [u64; 4],
    /// Whether equal numbers mean an unchanged source. A file written a moment ago may be written again within the
    /// resolution of its clock.
    pub settled: bool,
}
