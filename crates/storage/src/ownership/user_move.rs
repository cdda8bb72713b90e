//! The steps of one user's move (OWN-11, OWN-12), each in the database it belongs to.

use super::{Change, Events, Ownership, StepError, change};
use crate::{
    Engine, ExportCursor, ExportPage, Mode, Participants, Rows, StorageError, TxKind, UserData, WorkError,
    changes::Touched, engine::BucketLock, own_participants,
};
use cell_map::{
    BucketId, UserEpoch, UserKey,
    ownership::{Aborted, Commit, Committed, KeyRows, MoveRefused, Outcome, Progress, Step, UserMove, UserRow},
};
use std::sync::Arc;

type Done<T> = Result<T, StepError<MoveRefused>>;

/// `rows` with the user's row replaced, if the step wrote one.
fn with_user(rows: &KeyRows, step: Step<UserRow>) -> KeyRows {
    let mut rows = rows.clone();
    if let Step::Write(user) = step {
        rows.user = Some(user);
    }
    rows
}

/// At the source.
impl<E: Engine> Ownership<E> {
    /// [`UserMove::claim`].
    ///
    /// # Errors
    /// If refused or the database failed.
    pub async fn claim(&self, key: &UserKey, plan: &UserMove, attempt: u32) -> Done<()> {
        let plan = plan.clone();
        let step = self.db.user_step(key, Arc::new([]), move |me, rows| {
            Ok(Change::new(with_user(rows, plan.claim(me, rows, attempt)?), ()))
        });
        step.await
    }

    /// [`UserMove::takeover`].
    ///
    /// # Errors
    /// If refused or the database failed.
    pub async fn takeover(&self, key: &UserKey, plan: &UserMove, attempt: u32) -> Done<Progress> {
        let plan = plan.clone();
        let step = self.db.user_step(key, Arc::new([]), move |me, rows| {
            let (step, progress) = plan.takeover(me, rows, attempt)?;
            Ok(Change::new(with_user(rows, step), progress))
        });
        step.await
    }

    /// [`UserMove::freeze`]; hands the user's undelivered events to the target.
    ///
    /// # Errors
    /// If refused or the database failed.
    pub async fn freeze(&self, key: &UserKey, plan: &UserMove, attempt: u32) -> Done<()> {
        let plan = plan.clone();
        let step = self.db.user_step(key, Arc::new([]), move |me, rows| {
            let step = plan.freeze(me, rows, attempt)?;
            let events = matches!(step, Step::Write(_)).then_some(Events::Hand);
            Ok(Change { events, ..Change::new(with_user(rows, step), ()) })
        });
        step.await
    }

    /// [`UserMove::commit`]: the point of no return.
    ///
    /// # Errors
    /// If refused or the database failed. With an unknown outcome, [`outcome`](Self::outcome) tells.
    pub async fn commit(&self, key: &UserKey, plan: &UserMove, attempt: u32) -> Done<()> {
        let plan = plan.clone();
        let step = self.db.user_step(key, Arc::new([]), move |me, rows| {
            let mut rows = KeyRows::clone(rows);
            if let Step::Write(Commit { user, away }) = plan.commit(me, &rows, attempt)? {
                rows.user = Some(user);
                rows.away = away.or(rows.away);
            }
            Ok(Change::new(rows, ()))
        });
        step.await
    }

    /// [`UserMove::abort`]; takes the user's undelivered events back.
    ///
    /// # Errors
    /// If refused or the database failed.
    pub async fn abort(&self, key: &UserKey, plan: &UserMove, attempt: u32) -> Done<()> {
        let plan = plan.clone();
        let step = self.db.user_step(key, Arc::new([]), move |me, rows| {
            let step = plan.abort(me, rows, attempt)?;
            let events = matches!(step, Step::Write(_)).then_some(Events::TakeBack);
            Ok(Change { events, ..Change::new(with_user(rows, step), ()) })
        });
        step.await
    }

    /// [`UserMove::outcome`], read in a transaction of its own.
    ///
    /// # Errors
    /// If this is not the source, or the database failed.
    pub async fn outcome(&self, key: &UserKey, plan: &UserMove) -> Done<Outcome> {
        let rows = self.rows(key).await.map_err(StepError::Storage)?;
        plan.outcome(self.db.cell(), &rows).map_err(StepError::Refused)
    }

    /// One page of a participant's rows of a user.
    ///
    /// # Errors
    /// If the database failed.
    pub async fn export(
        &self,
        key: &UserKey,
        participant: Arc<dyn UserData<E>>,
        from: Option<ExportCursor>,
        limit: u32,
    ) -> Result<ExportPage, StorageError> {
        let key = key.clone();
        self.db
            .upkeep(TxKind::Ownership, Mode::Read, move |tx| {
                Box::pin(async move { Ok(participant.export(tx.conn(), &key, from, limit).await?) })
            })
            .await
    }

    /// Digests of a user's data, the participants' and then this crate's own, from one snapshot. Source and target
    /// compare them between freeze and commit.
    ///
    /// # Errors
    /// If the database failed.
    pub async fn digests(&self, key: &UserKey, participants: Participants<E>) -> Result<Vec<[u8; 32]>, StorageError> {
        let key = key.clone();
        self.db
            .upkeep(TxKind::Ownership, Mode::Read, move |tx| {
                Box::pin(async move {
                    let mut digests = vec![];
                    for participant in participants.iter() {
                        digests.push(participant.digest(tx.conn(), &key).await?);
                    }
                    digests.push(UserData::<E>::digest(&own_participants(), tx.conn(), &key).await?);
                    Ok(digests)
                })
            })
            .await
    }
}

/// At the target.
impl<E: Engine> Ownership<E> {
    /// [`UserMove::prepare`]; deletes what an earlier move or attempt left here.
    ///
    /// # Errors
    /// If refused or the database failed.
    pub async fn prepare(
        &self,
        key: &UserKey,
        plan: &UserMove,
        attempt: u32,
        participants: Participants<E>,
    ) -> Done<()> {
        let plan = plan.clone();
        let step = self.db.user_step(key, participants, move |me, rows| {
            let step = plan.prepare(me, rows, attempt)?.written();
            let mut change = Change::new(KeyRows::clone(rows), ());
            if let Some(prepare) = step {
                change.rows.user = Some(prepare.user);
                change.purge = true;
            }
            Ok(change)
        });
        step.await
    }

    /// Writes a page of a participant's rows, if this attempt may ([`UserMove::check_import`]).
    ///
    /// A call whose end is unknown ends the attempt: take over with a higher one. Else a late duplicate of it could
    /// write old rows over the last copy.
    ///
    /// # Errors
    /// If refused or the database failed.
    pub async fn import(
        &self,
        key: &UserKey,
        plan: &UserMove,
        attempt: u32,
        participant: Arc<dyn UserData<E>>,
        page: Rows,
    ) -> Done<()> {
        let (key, plan) = (key.clone(), plan.clone());
        let done = self.db.unfenced(TxKind::Ownership, Mode::Write, move |tx| {
            Box::pin(async move {
                tx.touch(Touched::User(key.clone()));
                let rows = tx.key_rows(BucketLock::Exclusive, BucketId::of(&key), &key).await?;
                plan.check_import(tx.cell(), &rows, attempt).map_err(WorkError::Business)?;
                Ok(participant.import(tx.conn(), &key, page).await?)
            })
        });
        Ok(done.await?)
    }

    /// [`Committed::open`]: deletes the `away` row, releases the events that came with the user, and leaves the
    /// publication in the outbox.
    ///
    /// # Errors
    /// If refused or the database failed.
    pub async fn open(&self, key: &UserKey, committed: &Committed) -> Done<()> {
        let committed = committed.clone();
        let step = self.db.user_step(key, Arc::new([]), move |me, rows| {
            let mut change = Change::new(KeyRows::clone(rows), ());
            if let Step::Write(open) = committed.open(me, rows)? {
                change.rows.user = Some(open.user);
                change.rows.away = None;
                change.events = Some(Events::Release);
                change.publish = Some(open.publication);
            }
            Ok(change)
        });
        step.await
    }

    /// [`Aborted::end_import`]. What was imported is deleted by [`purge`](Self::purge) at the plan's next epoch.
    ///
    /// # Errors
    /// If refused or the database failed.
    pub async fn end_import(&self, key: &UserKey, aborted: &Aborted) -> Done<()> {
        let aborted = aborted.clone();
        let step = self.db.user_step(key, Arc::new([]), move |me, rows| {
            Ok(Change::new(with_user(rows, aborted.end_import(me, rows)?), ()))
        });
        step.await
    }

    /// Deletes what the move to `epoch` left behind ([`KeyRows::check_purge`]); returns how many rows there were.
    ///
    /// # Errors
    /// If refused or the database failed.
    pub async fn purge(&self, key: &UserKey, epoch: UserEpoch, participants: Participants<E>) -> Done<u64> {
        let key = key.clone();
        let done = self.db.unfenced(TxKind::Ownership, Mode::Write, move |tx| {
            Box::pin(async move {
                tx.touch(Touched::User(key.clone()));
                let rows = tx.key_rows(BucketLock::Exclusive, BucketId::of(&key), &key).await?;
                rows.check_purge(epoch).map_err(WorkError::Business)?;
                Ok(change::purge(tx, &key, &participants).await?)
            })
        });
        Ok(done.await?)
    }
}
