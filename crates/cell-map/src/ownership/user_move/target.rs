//! The steps in the target's database.

use super::{Aborted, Committed, MoveRefused, UserMove};
use crate::{
    CellId,
    ownership::{BucketState, KeyRows, Publication, Step, UserRow, UserState},
};

/// What preparing the target writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepare {
    /// The user's row. The same transaction deletes every participant's data of this user: a purge that was still due,
    /// or what an earlier attempt imported.
    pub user: UserRow,
}

/// What opening the target writes. The `away` row, if there is one, is deleted (OWN-3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// The user's row.
    pub user: UserRow,
    /// The row of the publication outbox (OWN-19).
    pub publication: Publication,
}

impl UserMove {
    /// *Prepare*: inserts `importing(source, base, claim)`, only where there is no row, or `moved_to` at or below `base`,
    /// or an earlier attempt of this move (OWN-11).
    ///
    /// # Errors
    /// If the bucket is moving away, the user is at home here, or a later owner, another move or a later attempt is known.
    pub fn prepare(&self, me: &CellId, rows: &KeyRows, attempt: u32) -> Result<Step<Prepare>, MoveRefused> {
        self.at_target(me)?;
        let mine = self.held_by(attempt);
        if let Some(known) = rows.away.as_ref().map(|away| away.epoch).filter(|known| *known > self.base) {
            return Err(MoveRefused::Stale { known, base: self.base });
        }
        if let Some(user) = &rows.user {
            match (&user.state, user.claim) {
                (UserState::Importing { .. }, Some(held)) if held == mine => return Ok(Step::Unchanged),
                (UserState::Importing { .. }, Some(by)) if by.move_id != mine.move_id || by.attempt > attempt => {
                    return Err(MoveRefused::Superseded { by });
                }
                _ if user.epoch > self.base => {
                    return Err(MoveRefused::Stale { known: user.epoch, base: self.base });
                }
                _ => {}
            }
        }
        if rows.home_epoch().is_some() {
            return Err(MoveRefused::AtHome);
        }
        if let BucketState::Moving { to, .. } = &rows.bucket.state {
            return Err(MoveRefused::BucketMoving { to: to.clone() });
        }
        let state = UserState::Importing { from: self.source.clone() };
        Ok(Step::Write(Prepare { user: UserRow { state, epoch: self.base, claim: Some(mine) } }))
    }

    /// Whether this attempt may write imported data, in the transaction that read these rows (OWN-11).
    ///
    /// # Errors
    /// If the target is not importing, or for another attempt.
    pub fn check_import(&self, me: &CellId, rows: &KeyRows, attempt: u32) -> Result<(), MoveRefused> {
        self.at_target(me)?;
        match self.importing(rows) {
            Some(user) if user.claim == Some(self.held_by(attempt)) => Ok(()),
            _ => Err(MoveRefused::NotImporting),
        }
    }

    fn importing<'a>(&self, rows: &'a KeyRows) -> Option<&'a UserRow> {
        let mine = |user: &&UserRow| {
            matches!(user.state, UserState::Importing { .. }) && user.epoch == self.base && self.is_mine(user.claim)
        };
        rows.user.as_ref().filter(mine)
    }
}

impl Committed {
    /// *Open*: `importing → home(base + 1)`, by whichever attempt comes first, with the publication in the same
    /// transaction (OWN-11, OWN-19). Also in a bucket that has begun to move: its flip waits for this row.
    ///
    /// # Errors
    /// If the target is not importing for this move and did not open by it either.
    pub fn open(&self, me: &CellId, rows: &KeyRows) -> Result<Step<Open>, MoveRefused> {
        let plan = self.plan();
        plan.at_target(me)?;
        if plan.importing(rows).is_some() {
            return Ok(Step::Write(Open {
                user: UserRow { state: UserState::Home, epoch: plan.next(), claim: None },
                publication: Publication::of_open(me, plan.next(), &rows.bucket),
            }));
        }
        match &rows.user {
            // One user_epoch has one owner: past this one, the user was opened here and may have left again.
            Some(user) if user.epoch >= plan.next() => Ok(Step::Unchanged),
            _ => Err(MoveRefused::NotImporting),
        }
    }
}

impl Aborted {
    /// The target after an abort: `moved_to(source, base + 1)`, written even where it was never prepared, so that a late
    /// prepare finds it (OWN-11). What was imported is purged afterwards, by [`KeyRows::check_purge`] at `base + 1`.
    ///
    /// # Errors
    /// If the user is at home here, or another move is importing him.
    pub fn end_import(&self, me: &CellId, rows: &KeyRows) -> Result<Step<UserRow>, MoveRefused> {
        let plan = self.plan();
        plan.at_target(me)?;
        if let Some(user) = &rows.user {
            match (&user.state, user.claim) {
                _ if user.epoch > plan.base => return Ok(Step::Unchanged),
                (UserState::Importing { .. }, Some(by)) if by.move_id != plan.move_id => {
                    return Err(MoveRefused::Superseded { by });
                }
                _ => {}
            }
        }
        if rows.home_epoch().is_some() {
            return Err(MoveRefused::AtHome);
        }
        let state = UserState::MovedTo { cell: plan.source.clone() };
        Ok(Step::Write(UserRow { state, epoch: plan.next(), claim: None }))
    }
}
