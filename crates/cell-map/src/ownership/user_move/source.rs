//! The steps in the source's database.

use super::{MoveRefused, UserMove};
use crate::{
    CellId,
    ownership::{AwayRow, BucketState, KeyRows, Step, UserRow, UserState},
};

/// Proof that the source's row left `frozen` by the commit; needed to open the target.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Committed {
    plan: UserMove,
}

/// Proof that the source's row did not leave by the commit and never will; needed to end the import at the target.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Aborted {
    plan: UserMove,
}

impl Committed {
    /// *Forced open* after the source is lost: the coordinator's own journal says that the source acknowledged the commit.
    /// Without such evidence, wait for the source (OWN-11).
    #[must_use]
    pub const fn from_journal(plan: UserMove) -> Self {
        Self { plan }
    }

    /// Which move.
    #[must_use]
    pub const fn plan(&self) -> &UserMove {
        &self.plan
    }
}

impl Aborted {
    /// Which move.
    #[must_use]
    pub const fn plan(&self) -> &UserMove {
        &self.plan
    }
}

/// How a move ended, by the source's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Neither way yet.
    Undecided,
    /// The target may open.
    Committed(Committed),
    /// The target must forget what it imported.
    Aborted(Aborted),
}

/// What the commit writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// The user's row.
    pub user: UserRow,
    /// The `away` row, if the source is the bucket's home (OWN-3).
    pub away: Option<AwayRow>,
}

/// Where a new attempt has to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Not frozen: prepare the target.
    Claimed,
    /// Frozen: nothing is written any more; prepare and copy again.
    Frozen,
    /// Committed: open the target; never wipe or prepare it again.
    Committed(Committed),
    /// Aborted or overtaken: let the target know, and stop.
    Aborted(Aborted),
}

impl UserMove {
    /// *Claim*: the source's row becomes `home(base, claim)`, only if the user is at home here at exactly `base` and no
    /// other move holds the claim (OWN-11). In a moving bucket only for moves to where the bucket goes (OWN-14).
    ///
    /// # Errors
    /// If the user is not at home at `base`, is claimed otherwise, or the bucket is moving elsewhere.
    pub fn claim(&self, me: &CellId, rows: &KeyRows, attempt: u32) -> Result<Step<UserRow>, MoveRefused> {
        self.at_source(me)?;
        if rows.home_epoch() != Some(self.base) {
            return Err(MoveRefused::NotHome { base: self.base });
        }
        let mine = self.held_by(attempt);
        match rows.user.as_ref().and_then(|user| user.claim) {
            Some(held) if held == mine => return Ok(Step::Unchanged),
            Some(by) => return Err(MoveRefused::Superseded { by }),
            None => {}
        }
        match &rows.bucket.state {
            BucketState::Moving { to, .. } if *to != self.target => Err(MoveRefused::BucketMoving { to: to.clone() }),
            _ => Ok(Step::Write(UserRow { state: UserState::Home, epoch: self.base, claim: Some(mine) })),
        }
    }

    /// A new attempt's first step: raises the attempt in the source's row and tells what it found there. Only then does
    /// the attempt touch the target (OWN-11). An `attempt` is used once: a repeat is refused, so draw the next.
    ///
    /// # Errors
    /// Like [`Self::claim`], or if this attempt or a later one was here before.
    pub fn takeover(
        &self,
        me: &CellId,
        rows: &KeyRows,
        attempt: u32,
    ) -> Result<(Step<UserRow>, Progress), MoveRefused> {
        match self.outcome(me, rows)? {
            Outcome::Committed(proof) => return Ok((Step::Unchanged, Progress::Committed(proof))),
            Outcome::Aborted(proof) => return Ok((Step::Unchanged, Progress::Aborted(proof))),
            Outcome::Undecided => {}
        }
        match &rows.user {
            Some(user) if self.is_mine(user.claim) => {
                if let Some(by) = user.claim.filter(|held| held.attempt >= attempt) {
                    return Err(MoveRefused::Superseded { by });
                }
                let raised = UserRow { claim: Some(self.held_by(attempt)), ..user.clone() };
                let frozen = user.state == UserState::Frozen;
                Ok((Step::Write(raised), if frozen { Progress::Frozen } else { Progress::Claimed }))
            }
            _ => self.claim(me, rows, attempt).map(|step| (step, Progress::Claimed)),
        }
    }

    /// *Freeze*: `home(base) → frozen(base)` under the claim. The exclusive lock has waited for every running transaction
    /// of the bucket (OWN-4). The same transaction marks the user's unpublished outbox rows `handed`.
    ///
    /// # Errors
    /// If this attempt does not hold the claim.
    pub fn freeze(&self, me: &CellId, rows: &KeyRows, attempt: u32) -> Result<Step<UserRow>, MoveRefused> {
        let user = self.undecided(me, rows, attempt)?;
        match user.state {
            UserState::Frozen => Ok(Step::Unchanged),
            _ => Ok(Step::Write(UserRow { state: UserState::Frozen, ..user.clone() })),
        }
    }

    /// *Commit*: `frozen(base) → moved_to(target, base + 1)`, after the target's data was found equal. If the source is the
    /// bucket's home, the same transaction writes the `away` row (OWN-3). A repeat is [`Step::Unchanged`].
    ///
    /// # Errors
    /// If the user is not frozen by this attempt.
    pub fn commit(&self, me: &CellId, rows: &KeyRows, attempt: u32) -> Result<Step<Commit>, MoveRefused> {
        if let Outcome::Committed(_) = self.outcome(me, rows)? {
            return Ok(Step::Unchanged);
        }
        let user = self.undecided(me, rows, attempt)?;
        if user.state != UserState::Frozen {
            return Err(MoveRefused::NotFrozen);
        }
        let moved = UserState::MovedTo { cell: self.target.clone() };
        Ok(Step::Write(Commit {
            user: UserRow { state: moved, epoch: self.next(), claim: user.claim },
            away: rows.bucket.is_home().then(|| AwayRow { cell: self.target.clone(), epoch: self.next() }),
        }))
    }

    /// *Abort*: `home | frozen(base) → home(base + 1)`, under the claim even before the freeze. It uses up the epoch, so
    /// that nothing of this move can match again. Only after reading it does anyone touch the target (OWN-11).
    ///
    /// # Errors
    /// If this attempt does not hold the claim or the move is committed.
    pub fn abort(&self, me: &CellId, rows: &KeyRows, attempt: u32) -> Result<Step<UserRow>, MoveRefused> {
        match self.undecided(me, rows, attempt) {
            Ok(_) => Ok(Step::Write(UserRow { state: UserState::Home, epoch: self.next(), claim: None })),
            Err(MoveRefused::AlreadyAborted) => Ok(Step::Unchanged),
            Err(refused) => Err(refused),
        }
    }

    /// How the move ended, as the source's row tells.
    ///
    /// A row past `base` that is not this move's commit proves the abort: `base + 1` was used up here, and had the move
    /// committed, the row could have changed again only after the target opened, which makes the proof meet a row there
    /// that it does not apply to.
    ///
    /// # Errors
    /// If this is not the source's database.
    pub fn outcome(&self, me: &CellId, rows: &KeyRows) -> Result<Outcome, MoveRefused> {
        self.at_source(me)?;
        let Some(user) = rows.user.as_ref().filter(|user| user.epoch > self.base) else {
            return Ok(Outcome::Undecided);
        };
        let to_target = user.state == UserState::MovedTo { cell: self.target.clone() };
        Ok(if to_target && user.epoch == self.next() && self.is_mine(user.claim) {
            Outcome::Committed(Committed { plan: self.clone() })
        } else {
            Outcome::Aborted(Aborted { plan: self.clone() })
        })
    }

    /// The source's row, still `home` or `frozen` at `base` and held by this attempt.
    fn undecided<'a>(&self, me: &CellId, rows: &'a KeyRows, attempt: u32) -> Result<&'a UserRow, MoveRefused> {
        match self.outcome(me, rows)? {
            Outcome::Committed(_) => return Err(MoveRefused::AlreadyCommitted),
            Outcome::Aborted(_) => return Err(MoveRefused::AlreadyAborted),
            Outcome::Undecided => {}
        }
        let not_claimed = MoveRefused::NotClaimed { move_id: self.move_id };
        let Some(user) = rows.user.as_ref().filter(|user| user.epoch == self.base) else {
            return Err(not_claimed);
        };
        match (&user.state, user.claim) {
            (UserState::Home | UserState::Frozen, Some(held)) if held == self.held_by(attempt) => Ok(user),
            (UserState::Home | UserState::Frozen, Some(by)) => Err(MoveRefused::Superseded { by }),
            _ => Err(not_claimed),
        }
    }
}
