//! Publications: how the map and the bucket's home learn where a user lives (OWN-19, OWN-3).

use super::{AwayRow, BucketRow, BucketState, KeyRows, Step, UserState};
use crate::{BucketEpoch, CellId, UserEpoch};

/// A row of the publication outbox, written in the transaction that opened a user. No attempt of the move need be alive for
/// it to reach the bucket's home and then the map.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Publication {
    /// Where the user lives.
    pub cell: CellId,
    /// Since which epoch.
    pub epoch: UserEpoch,
    /// Whether the map needs a pin: the bucket's row here was not home.
    pub pin: bool,
}

/// What the map's publisher does with a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapStep {
    /// The map knows this epoch or a higher one.
    Stale,
    /// Pin the user to the publication's cell.
    Pin,
    /// The bucket names the cell by itself: drop the pin, keep its epoch as a tombstone.
    Drop,
}

/// What becomes of a publication that looks for the bucket's home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AwayStep {
    /// This is the bucket's home: write the row, or nothing if as much is known. Done: go on to the map.
    Here(Step<AwayRow>),
    /// The bucket went elsewhere: ask there, with this epoch.
    Follow {
        /// Where to.
        to: CellId,
        /// The epoch of the claim.
        epoch: BucketEpoch,
    },
    /// The bucket is on its way here: try again later.
    Wait,
}

impl Publication {
    pub(super) fn of_open(me: &CellId, epoch: UserEpoch, bucket: &BucketRow) -> Self {
        let named_by_bucket = matches!(bucket.state, BucketState::Home | BucketState::Reserved);
        Self { cell: me.clone(), epoch, pin: !named_by_bucket }
    }

    /// The publisher's rule: only if the epoch exceeds the one that the map knows for this key, tombstones included
    /// (OWN-19). `bucket_cell` is the map's cell for the key's bucket.
    #[must_use]
    pub fn map_step(&self, known: Option<UserEpoch>, bucket_cell: &CellId) -> MapStep {
        match known {
            Some(known) if self.epoch <= known => MapStep::Stale,
            _ if !self.pin && self.cell == *bucket_cell => MapStep::Drop,
            _ => MapStep::Pin,
        }
    }

    /// In the database of `me`, asked because a claim of `asked` says that the bucket's home is here (0 at first).
    #[must_use]
    pub fn away_step(&self, me: &CellId, rows: &KeyRows, asked: BucketEpoch) -> AwayStep {
        match &rows.bucket.state {
            BucketState::Gone { .. } if rows.bucket.epoch < asked => AwayStep::Wait,
            BucketState::Gone { to } if to == me => AwayStep::Wait,
            BucketState::Gone { to } => AwayStep::Follow { to: to.clone(), epoch: rows.bucket.epoch },
            _ => AwayStep::Here(rows.learn_away(me, AwayRow { cell: self.cell.clone(), epoch: self.epoch })),
        }
    }
}

impl KeyRows {
    /// Writes an `away` row that was heard of, if nothing here knows better: no row as high, and the user himself not
    /// at home. A row that names `me` says nothing that the user's own row does not say better (OWN-3, OWN-8).
    pub(super) fn learn_away(&self, me: &CellId, heard: AwayRow) -> Step<AwayRow> {
        let known = self.away.as_ref().is_some_and(|away| away.epoch >= heard.epoch);
        let lives_here = self
            .user
            .as_ref()
            .is_some_and(|user| matches!(user.state, UserState::Home | UserState::Frozen) && user.epoch >= heard.epoch);
        if heard.cell == *me || known || lives_here { Step::Unchanged } else { Step::Write(heard) }
    }
}
