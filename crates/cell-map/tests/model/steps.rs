//! The steps of a user's move as a coordinator takes them in the models' databases; `None` if one is refused.

use super::support::{Db, number};
use cell_map::ownership::{Committed, Outcome, Progress, Publication, Step, UserMove};

/// One attempt at a user's move.
pub struct Coordinator<'a> {
    plan: &'a UserMove,
    attempt: u32,
    s: usize,
    t: usize,
}

impl<'a> Coordinator<'a> {
    pub fn new(plan: &'a UserMove, attempt: u32) -> Self {
        Self { plan, attempt, s: number(plan.source()), t: number(plan.target()) }
    }

    pub fn claim(&self, dbs: &mut [Db]) -> Option<()> {
        let step = self.plan.claim(self.plan.source(), &dbs[self.s].rows, self.attempt).ok()?;
        dbs[self.s].put(step.written());
        Some(())
    }

    /// What a new attempt finds at the source.
    pub fn takeover(&self, dbs: &mut [Db]) -> Option<Progress> {
        let (step, progress) = self.plan.takeover(self.plan.source(), &dbs[self.s].rows, self.attempt).ok()?;
        dbs[self.s].put(step.written());
        Some(progress)
    }

    /// What an earlier move left at the target goes.
    pub fn prepare(&self, dbs: &mut [Db]) -> Option<()> {
        if let Step::Write(prepare) = self.plan.prepare(self.plan.target(), &dbs[self.t].rows, self.attempt).ok()? {
            dbs[self.t].put(Some(prepare.user));
            dbs[self.t].data = 0;
        }
        Some(())
    }

    pub fn freeze(&self, dbs: &mut [Db]) -> Option<()> {
        let step = self.plan.freeze(self.plan.source(), &dbs[self.s].rows, self.attempt).ok()?;
        dbs[self.s].put(step.written());
        Some(())
    }

    pub fn import(&self, dbs: &mut [Db]) -> Option<()> {
        self.plan.check_import(self.plan.target(), &dbs[self.t].rows, self.attempt).ok()?;
        dbs[self.t].data = dbs[self.s].data;
        Some(())
    }

    pub fn commit(&self, dbs: &mut [Db]) -> Option<()> {
        if let Step::Write(commit) = self.plan.commit(self.plan.source(), &dbs[self.s].rows, self.attempt).ok()? {
            dbs[self.s].put(Some(commit.user));
            dbs[self.s].put_away(commit.away);
        }
        Some(())
    }

    /// Opens the target after reading the source's row; what is to be published, unless that was done before.
    pub fn open(&self, dbs: &mut [Db]) -> Option<Option<Publication>> {
        match self.plan.outcome(self.plan.source(), &dbs[self.s].rows).ok()? {
            Outcome::Committed(proof) => self.open_with(dbs, &proof),
            _ => None,
        }
    }

    pub fn open_with(&self, dbs: &mut [Db], proof: &Committed) -> Option<Option<Publication>> {
        let open = proof.open(self.plan.target(), &dbs[self.t].rows).ok()?.written();
        Some(open.map(|open| {
            dbs[self.t].put(Some(open.user));
            dbs[self.t].rows.away = None;
            open.publication
        }))
    }

    pub fn abort(&self, dbs: &mut [Db]) -> Option<()> {
        let step = self.plan.abort(self.plan.source(), &dbs[self.s].rows, self.attempt).ok()?;
        dbs[self.s].put(step.written());
        Some(())
    }

    /// Tells the target of the abort after reading the source's row.
    pub fn end_import(&self, dbs: &mut [Db]) -> Option<()> {
        let outcome = self.plan.outcome(self.plan.source(), &dbs[self.s].rows).ok()?;
        let Outcome::Aborted(proof) = outcome else { return None };
        let told = proof.end_import(self.plan.target(), &dbs[self.t].rows).ok()?.written();
        dbs[self.t].put(told);
        Some(())
    }

    /// Deletes what the user left behind in a cell.
    pub fn purge(&self, dbs: &mut [Db], at: usize) -> Option<()> {
        dbs[at].rows.check_purge(self.plan.next()).ok()?;
        dbs[at].data = 0;
        Some(())
    }
}
