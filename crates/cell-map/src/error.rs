//! What can be wrong with a map.

use crate::{BucketId, CellId, Incarnation, MapEpoch, UserEpoch, UserKey};

/// Why a draft is no cell map. The publisher's mistake, never worth a retry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MapError {
    /// No cell.
    #[error("the map has no cells")]
    NoCells,
    /// More cells than bucket entries can tell apart.
    #[error("the map has more than {max} cells")]
    TooManyCells {
        /// Most cells.
        max: usize,
    },
    /// Two cells of one name.
    #[error("cell \"{cell}\" is there twice")]
    DuplicateCell {
        /// The name.
        cell: CellId,
    },
    /// A name that no cell of the map has.
    #[error("{what} names cell \"{cell}\", which the map does not have")]
    UnknownCell {
        /// Who names it.
        what: &'static str,
        /// The name.
        cell: CellId,
    },
    /// A cell that something still needs cannot be removed.
    #[error("cell \"{cell}\" cannot be removed: it is still {why}")]
    CellInUse {
        /// The cell.
        cell: CellId,
        /// What it still is.
        why: &'static str,
    },
    /// Not `host:port`.
    #[error("cell \"{cell}\": endpoint \"{endpoint}\" is not host:port with a port of 1 to 65535")]
    Endpoint {
        /// The cell.
        cell: CellId,
        /// The endpoint, cut to 80 characters.
        endpoint: String,
    },
    /// One address cannot be two cells.
    #[error("endpoint \"{endpoint}\" is claimed by cell \"{first}\" and by cell \"{second}\"")]
    SharedEndpoint {
        /// The endpoint.
        endpoint: String,
        /// One cell.
        first: CellId,
        /// The other.
        second: CellId,
    },
    /// A list of endpoints is too long.
    #[error("cell \"{cell}\" has more than {max} endpoints of one kind")]
    TooManyEndpoints {
        /// The cell.
        cell: CellId,
        /// Most endpoints of one kind.
        max: usize,
    },
    /// Buckets were never given homes.
    #[error("the buckets have no homes yet: spread them or set them")]
    NoLayout,
    /// Nobody to give buckets to.
    #[error("no active cell has weight, so nobody can be given the buckets")]
    NoWeight,
    /// The bucket table is not 131,072 bytes.
    #[error("the bucket table has {bytes} bytes, not {want}")]
    BucketTableLength {
        /// Its bytes.
        bytes: usize,
        /// What it must have.
        want: usize,
    },
    /// The reserved bits are not 8,192 bytes.
    #[error("the reserved buckets have {bytes} bytes, not {want}")]
    ReservedLength {
        /// Their bytes.
        bytes: usize,
        /// What they must have.
        want: usize,
    },
    /// A bucket entry beyond the list of cells.
    #[error("bucket {bucket} is homed in cell number {index}, but there are {cells} cells")]
    BucketCell {
        /// The bucket.
        bucket: BucketId,
        /// Its entry.
        index: u16,
        /// Length of the list.
        cells: usize,
    },
    /// No cell writes global data.
    #[error("the map names no global cell")]
    NoGlobalCell,
    /// Two pins of one user.
    #[error("user key \"{key}\" is pinned twice")]
    DuplicatePin {
        /// The user.
        key: UserKey,
    },
    /// Users without a pin have epoch 0, so a pin at 0 could outrank nobody.
    #[error("the pin of user key \"{key}\" has user epoch 0; the lowest is 1")]
    PinEpochZero {
        /// The user.
        key: UserKey,
    },
    /// The map knows a claim of the same or a higher epoch (OWN-19).
    #[error("user key \"{key}\": epoch {offered} does not exceed epoch {known}, which the map knows")]
    StalePin {
        /// The user.
        key: UserKey,
        /// What the map knows.
        known: UserEpoch,
        /// What was offered.
        offered: UserEpoch,
    },
    /// More pins than the table holds.
    #[error("the map has more than {max} pins")]
    TooManyPins {
        /// Most pins.
        max: usize,
    },
    /// A region's distance to itself is 0 and is not stated.
    #[error("region \"{region}\" is given a distance to itself")]
    SelfDistance {
        /// The region.
        region: crate::RegionId,
    },
    /// Two distances of one pair.
    #[error("the distance between regions \"{a}\" and \"{b}\" is given twice")]
    DuplicateDistance {
        /// One region.
        a: crate::RegionId,
        /// The other.
        b: crate::RegionId,
    },
    /// Longer than 2^32 − 1 µs.
    #[error("the distance between regions \"{a}\" and \"{b}\" is longer than 4294 s")]
    DistanceTooLong {
        /// One region.
        a: crate::RegionId,
        /// The other.
        b: crate::RegionId,
    },
    /// Incarnations begin at 1; 0 is a protobuf field that was never set.
    #[error("the map has no incarnation")]
    NoIncarnation,
    /// Epochs begin at 1; 0 is a protobuf field that was never set.
    #[error("the map has no epoch")]
    NoEpoch,
    /// Incarnations only rise.
    #[error("incarnation {offered} does not exceed incarnation {current}")]
    IncarnationNotHigher {
        /// The map's.
        current: Incarnation,
        /// What was offered.
        offered: Incarnation,
    },
    /// Epochs only rise.
    #[error("epoch {offered} does not exceed epoch {current}")]
    EpochNotHigher {
        /// The map's.
        current: MapEpoch,
        /// What was offered.
        offered: MapEpoch,
    },
    /// The reason for forcing a version says nothing or too much.
    #[error("the reason for forcing the map has {bytes} bytes; 1 to {max} are allowed")]
    Reason {
        /// Its bytes.
        bytes: usize,
        /// Most bytes.
        max: usize,
    },
}
