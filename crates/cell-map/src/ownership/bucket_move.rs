//! The move of a bucket from a source to a target (OWN-14).
//!
//! 1. `begin` at the source: `home → moving`.
//! 2. Every resident user moves by himself ([`super::UserMove`]).
//! 3. `flip` at the source: `moving → gone`, in one transaction with the count of who is left.
//! 4. What the source knows of users elsewhere is final now and is copied ([`KeyRows::whereabouts`],
//!    [`Flipped::copy_away`]).
//! 5. `open` at the target.
//! 6. The map ([`Flipped::check_map`]).

use super::{AwayRow, BucketRow, BucketState, Claim, KeyRows, MoveId, Step, UserState};
use crate::{BucketEpoch, CellId};

/// A planned move of one bucket.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BucketMove {
    move_id: MoveId,
    source: CellId,
    target: CellId,
    base: BucketEpoch,
    reserve: bool,
}

/// Who still lives in a moving bucket, counted under its exclusive lock in the transaction of the flip.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Residents {
    /// User rows that are home, frozen or importing.
    pub rows: u64,
    /// Users that have data and no row.
    pub rowless_with_data: u64,
}

/// Proof that the source let go of the bucket.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Flipped {
    plan: BucketMove,
}

/// Where a new attempt has to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BucketProgress {
    /// Move the residents.
    Moving,
    /// Copy the `away` rows and open the target.
    Flipped(Flipped),
}

/// Why a step of a bucket's move is refused. Nothing is written then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BucketRefused {
    /// The plan is none.
    #[error("a bucket's move from cell \"{cell}\" to itself")]
    SameCell {
        /// Source and target.
        cell: CellId,
    },
    /// The step belongs into another database.
    #[error("the step belongs to cell \"{expected}\", this database is of cell \"{me}\"")]
    WrongDatabase {
        /// Whose database this is.
        me: CellId,
        /// The cell the plan names for the step.
        expected: CellId,
    },
    /// The bucket's row is not at the epoch that the plan starts from.
    #[error("the bucket is at bucket_epoch {found} here, the move starts from {base}")]
    Stale {
        /// The row's.
        found: BucketEpoch,
        /// The plan's.
        base: BucketEpoch,
    },
    /// The bucket is not home here.
    #[error("the bucket is not home here")]
    NotHome,
    /// Another move, or a later attempt of this one, holds the bucket.
    #[error("attempt {} of move {} holds the bucket", by.attempt, by.move_id)]
    Superseded {
        /// Which.
        by: Claim,
    },
    /// Users are left: enumerate and move them first.
    #[error("{} user rows and {} users without a row are left in the bucket", .0.rows, .0.rowless_with_data)]
    Inhabited(Residents),
}

impl BucketMove {
    /// The move of a bucket from `source`, whose row is at `base`, to `target`. With `reserve` the target does not mint in
    /// it either (OWN-10).
    ///
    /// # Errors
    /// If both are one cell.
    pub fn new(
        move_id: MoveId,
        source: CellId,
        target: CellId,
        base: BucketEpoch,
        reserve: bool,
    ) -> Result<Self, BucketRefused> {
        if source == target {
            return Err(BucketRefused::SameCell { cell: source });
        }
        Ok(Self { move_id, source, target, base, reserve })
    }

    /// Where from.
    #[must_use]
    pub const fn source(&self) -> &CellId {
        &self.source
    }

    /// Where to.
    #[must_use]
    pub const fn target(&self) -> &CellId {
        &self.target
    }

    /// The bucket's epoch after the move.
    #[must_use]
    pub const fn next(&self) -> BucketEpoch {
        self.base.next()
    }

    /// `home | reserved → moving` at the source.
    ///
    /// # Errors
    /// If the bucket is not home at `base`, or held by another move or attempt.
    pub fn begin(&self, me: &CellId, row: &BucketRow, attempt: u32) -> Result<Step<BucketRow>, BucketRefused> {
        self.at(me, &self.source)?;
        let mine = self.held_by(attempt);
        match &row.state {
            _ if row.epoch != self.base => Err(BucketRefused::Stale { found: row.epoch, base: self.base }),
            BucketState::Home | BucketState::Reserved => Ok(Step::Write(self.moving(attempt))),
            BucketState::Moving { claim, .. } if *claim == mine => Ok(Step::Unchanged),
            BucketState::Moving { claim, .. } => Err(BucketRefused::Superseded { by: *claim }),
            BucketState::Gone { .. } => Err(BucketRefused::NotHome),
        }
    }

    /// A new attempt's first step: raises the attempt in the source's row and tells what it found.
    ///
    /// # Errors
    /// Like [`Self::begin`], or if this attempt or a later one was here before.
    pub fn takeover(
        &self,
        me: &CellId,
        row: &BucketRow,
        attempt: u32,
    ) -> Result<(Step<BucketRow>, BucketProgress), BucketRefused> {
        self.at(me, &self.source)?;
        if let Some(flipped) = self.flipped(row) {
            return Ok((Step::Unchanged, BucketProgress::Flipped(flipped)));
        }
        match &row.state {
            BucketState::Moving { claim, .. }
                if row.epoch == self.base && claim.move_id == self.move_id && claim.attempt < attempt =>
            {
                Ok((Step::Write(self.moving(attempt)), BucketProgress::Moving))
            }
            BucketState::Moving { claim, .. } => Err(BucketRefused::Superseded { by: *claim }),
            _ => self.begin(me, row, attempt).map(|step| (step, BucketProgress::Moving)),
        }
    }

    /// `moving → gone(target, base + 1)`, only if nobody is left.
    ///
    /// # Errors
    /// If somebody is, or this attempt does not hold the bucket.
    pub fn flip(
        &self,
        me: &CellId,
        row: &BucketRow,
        attempt: u32,
        left: Residents,
    ) -> Result<(Step<BucketRow>, Flipped), BucketRefused> {
        self.at(me, &self.source)?;
        if let Some(flipped) = self.flipped(row) {
            return Ok((Step::Unchanged, flipped));
        }
        match &row.state {
            _ if row.epoch != self.base => Err(BucketRefused::Stale { found: row.epoch, base: self.base }),
            BucketState::Moving { claim, .. } if *claim != self.held_by(attempt) => {
                Err(BucketRefused::Superseded { by: *claim })
            }
            BucketState::Moving { .. } if left != Residents::default() => Err(BucketRefused::Inhabited(left)),
            BucketState::Moving { .. } => {
                let gone = BucketRow { state: BucketState::Gone { to: self.target.clone() }, epoch: self.next() };
                Ok((Step::Write(gone), Flipped { plan: self.clone() }))
            }
            _ => Err(BucketRefused::NotHome),
        }
    }

    fn flipped(&self, row: &BucketRow) -> Option<Flipped> {
        let gone = BucketState::Gone { to: self.target.clone() };
        (row.state == gone && row.epoch == self.next()).then(|| Flipped { plan: self.clone() })
    }

    fn moving(&self, attempt: u32) -> BucketRow {
        let state = BucketState::Moving { to: self.target.clone(), claim: self.held_by(attempt) };
        BucketRow { state, epoch: self.base }
    }

    const fn held_by(&self, attempt: u32) -> Claim {
        Claim { move_id: self.move_id, attempt }
    }

    fn at(&self, me: &CellId, expected: &CellId) -> Result<(), BucketRefused> {
        let wrong = || BucketRefused::WrongDatabase { me: me.clone(), expected: expected.clone() };
        if me == expected { Ok(()) } else { Err(wrong()) }
    }
}

impl Flipped {
    /// Writes at the target what the source knew of one user elsewhere: the higher epoch wins, and a row that names the
    /// target itself is skipped, for its own row knows better (OWN-14).
    ///
    /// # Errors
    /// If this is not the target's database.
    pub fn copy_away(&self, me: &CellId, rows: &KeyRows, known: AwayRow) -> Result<Step<AwayRow>, BucketRefused> {
        self.plan.at(me, &self.plan.target)?;
        Ok(rows.learn_away(me, known))
    }

    /// `gone → home(base + 1)` at the target, after every `away` row was copied.
    ///
    /// # Errors
    /// If the target's row is not older than this move.
    pub fn open(&self, me: &CellId, row: &BucketRow) -> Result<Step<BucketRow>, BucketRefused> {
        let plan = &self.plan;
        plan.at(me, &plan.target)?;
        match &row.state {
            BucketState::Gone { .. } if row.epoch <= plan.base => {
                let state = if plan.reserve { BucketState::Reserved } else { BucketState::Home };
                Ok(Step::Write(BucketRow { state, epoch: plan.next() }))
            }
            // Opened before, and perhaps gone on since.
            _ if row.epoch >= plan.next() => Ok(Step::Unchanged),
            _ => Err(BucketRefused::Stale { found: row.epoch, base: plan.base }),
        }
    }

    /// Whether the map may name the target: the map's publisher asks while it holds the right to publish, so that a late
    /// coordinator does not bring back a home of long ago.
    ///
    /// # Errors
    /// If the bucket is not home in the target by this move.
    pub fn check_map(&self, me: &CellId, row: &BucketRow) -> Result<(), BucketRefused> {
        self.plan.at(me, &self.plan.target)?;
        match row.is_home() && row.epoch == self.plan.next() {
            true => Ok(()),
            false => Err(BucketRefused::Stale { found: row.epoch, base: self.plan.base }),
        }
    }
}

impl KeyRows {
    /// What the database of `me`, which let go of the bucket, knows of where a user lives, for [`Flipped::copy_away`]: his
    /// `away` row or, if as high, his own row, in whatever state it is. `None` if it has neither.
    ///
    /// The `away` rows alone would not do. A user may have left before the bucket came here, his publication still on its
    /// way; or come back between the flip and the copy, which deletes his `away` row. Whatever the row says, its owner is
    /// the real one or knows a later one.
    #[must_use]
    pub fn whereabouts(&self, me: &CellId) -> Option<AwayRow> {
        let own = self.user.as_ref().map(|user| {
            let cell = match &user.state {
                UserState::Home | UserState::Frozen => me,
                UserState::Importing { from } => from,
                UserState::MovedTo { cell } => cell,
            };
            AwayRow { cell: cell.clone(), epoch: user.epoch }
        });
        match (&self.away, own) {
            (Some(away), Some(own)) if own.epoch >= away.epoch => Some(own),
            (Some(away), _) => Some(away.clone()),
            (None, own) => own,
        }
    }
}
