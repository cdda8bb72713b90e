//! Why a key is at home where it is.

use crate::{BucketId, Cell, CellMap, DecidedBy, Home, Incarnation, MapEpoch, UserEpoch};
use std::fmt;

/// Where a key is at home, and why. Its text is a sentence or two for an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation<'a> {
    /// The key's bucket.
    pub bucket: BucketId,
    /// Whether nothing is minted in the bucket (OWN-10).
    pub reserved: bool,
    /// Home of the bucket.
    pub bucket_cell: &'a Cell,
    /// Home of the key.
    pub cell: &'a Cell,
    /// Bucket or pin.
    pub decided_by: DecidedBy,
    /// Epoch that the map knows of this user; otherwise 0.
    pub user_epoch: UserEpoch,
    /// The map's epoch.
    pub map_epoch: MapEpoch,
    /// The map's incarnation.
    pub incarnation: Incarnation,
}

impl CellMap {
    /// Where the user with these canonical key bytes is at home, and why.
    #[must_use]
    pub fn explain(&self, key: &[u8]) -> Explanation<'_> {
        let Home { cell, bucket, decided_by, user_epoch, .. } = self.home(key);
        Explanation {
            bucket,
            reserved: self.is_reserved(bucket),
            bucket_cell: self.bucket_home(bucket),
            cell,
            decided_by,
            user_epoch,
            map_epoch: self.epoch(),
            incarnation: self.incarnation(),
        }
    }
}

impl fmt::Display for Explanation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bucket, bucket_cell, cell, user_epoch, map_epoch, incarnation, .. } = self;
        let kind = if self.reserved { "reserved bucket" } else { "bucket" };
        write!(f, "home is {} ({}), because ", cell.id, cell.region)?;
        match self.decided_by {
            DecidedBy::Pin => {
                write!(f, "the user is pinned there at user epoch {user_epoch}; ")?;
                write!(f, "{kind} {bucket} belongs to {}", bucket_cell.id)?;
            }
            DecidedBy::Bucket if *user_epoch == UserEpoch::ZERO => write!(f, "{kind} {bucket} belongs to it")?,
            DecidedBy::Bucket => {
                write!(f, "{kind} {bucket} belongs to it; a pin was dropped at user epoch {user_epoch}")?;
            }
        }
        write!(f, " (map epoch {map_epoch}, incarnation {incarnation})")
    }
}
