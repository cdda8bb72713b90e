//! Several short write transactions in one COMMIT.
//!
//! Most of a small transaction's time is the sync of its COMMIT. So whoever waits for the writer while a transaction is
//! at work goes on in that one, inside a savepoint of his own, and the last of them commits for all. Nobody waits for
//! company: a transaction behind which nobody waits commits at once, and runs the very statements it would run alone.
//!
//! No member hears of anything, a refusal or an error included, before that COMMIT: what it read may be what an earlier
//! member wrote. If the COMMIT does not take place, nothing of any member was done.

use crate::{
    Class, Engine, Mode, StorageError,
    changes::Touched,
    db::Inner,
    engine::CommitError,
    turn::{Seat, Turn},
};
use std::sync::Arc;
use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};

/// An open transaction's members so far.
pub(crate) struct Group<E: Engine> {
    mode: Mode,
    began: Instant,
    members: Vec<Member>,
    /// Kept until the transaction has ended and its lease is back; none if nobody may follow.
    seat: Option<Seat<E>>,
}

/// A member whose work is done.
pub(crate) struct Member {
    /// Whom it concerns.
    pub(crate) touched: Touched,
    /// Whether it asked for the COMMIT; else it failed, and its savepoint was rolled back.
    pub(crate) wrote: bool,
    /// Whether it emitted events.
    pub(crate) emitted: bool,
    /// Hears how the transaction ended.
    pub(crate) told: oneshot::Sender<End>,
}

/// How the COMMIT of a group ended.
pub(crate) enum End {
    /// It stands.
    Committed,
    /// Nobody knows.
    Unknown(String),
    /// It did not take place.
    Fell(StorageError),
}

impl<E: Engine> Group<E> {
    /// Of a transaction that has just begun. Others may follow if it has the seat.
    pub(crate) fn new(mode: Mode, seat: Option<Seat<E>>) -> Self {
        Self { mode, began: Instant::now(), members: Vec::new(), seat }
    }

    /// Whether nobody was here before.
    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub(crate) fn add(&mut self, member: Member) {
        self.members.push(member);
    }

    /// Hands the open transaction to whoever waits, or commits it and tells its members.
    pub(crate) async fn settle(self, inner: &Inner<E>, lease: E::Lease) {
        let settings = &inner.settings;
        let room = self.members.len() < settings.group_size && self.began.elapsed() < settings.group_limit;
        let groups = self.seat.as_ref().filter(|_| room).map(Seat::groups);
        let mut turn = Turn::Follow(lease, self);
        while let Some(next) = groups.as_ref().and_then(|groups| groups.next()) {
            match next.send(turn) {
                Ok(()) => return,
                Err(back) => turn = back,
            }
        }
        if let Turn::Follow(lease, group) = turn {
            group.commit(inner, lease).await;
        }
    }

    async fn commit(self, inner: &Inner<E>, mut lease: E::Lease) {
        let unknown = match timeout(inner.settings.commit_limit, E::commit(&mut lease)).await {
            Ok(Ok(())) => None,
            Ok(Err(CommitError::Refused(error))) => {
                roll_back(inner, &mut lease).await;
                drop(lease);
                return self.fell(error);
            }
            Ok(Err(CommitError::Unknown(why))) => Some(why),
            Err(_) => Some("it took longer than its limit".into()),
        };
        // It stands, or may stand. Told before the connection goes back, as whoever borrows it next may rely on.
        for member in &self.members {
            inner.changes.tell(&member.touched);
        }
        // Back before anybody is told, and the next one begins while the members hear of it.
        drop(lease);
        drop(self.seat);
        if unknown.is_none() {
            if let (Mode::Write, Some(observer)) = (self.mode, &inner.settings.observer) {
                observer.committed(self.members.iter().filter(|member| member.wrote).count());
            }
            let emitted = self.members.iter().filter(|member| member.emitted).count() as u64;
            if emitted > 0 {
                inner.events.send_modify(|commits| *commits += emitted);
            }
        }
        for member in self.members {
            let end = unknown.as_ref().map_or(End::Committed, |why| End::Unknown(why.clone()));
            // A member that is gone, at the end of the process, does not want it.
            let _ = member.told.send(end);
        }
    }

    /// Tells the members that nothing was done. Who has no company hears the error itself.
    fn fell(mut self, error: StorageError) {
        if self.members.len() > 1 {
            self.tell_all_fell(&error);
        } else if let Some(member) = self.members.pop() {
            let _ = member.told.send(End::Fell(error));
        }
    }

    fn tell_all_fell(&mut self, error: &StorageError) {
        let full = error.class() == Class::Exhausted;
        let why: Arc<str> = error.to_string().into();
        for member in self.members.drain(..) {
            let _ = member.told.send(End::Fell(StorageError::Together { full, why: Arc::clone(&why) }));
        }
    }

    /// Gives the transaction up because of `error`, which whoever is at work hears by itself.
    pub(crate) async fn give_up(mut self, inner: &Inner<E>, mut lease: E::Lease, error: &StorageError) {
        // Nobody will commit it. A connection that does not answer would keep them waiting.
        self.tell_all_fell(error);
        roll_back(inner, &mut lease).await;
        // Before the seat.
        drop(lease);
    }
}

/// Rolls back now, so that locks are free when the caller hears of it. If it fails or takes too long, the lease's
/// next borrower sees to it.
pub(crate) async fn roll_back<E: Engine>(inner: &Inner<E>, lease: &mut E::Lease) {
    match timeout(inner.settings.commit_limit, E::rollback(lease)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::warn!(%error, "rollback failed; the connection will be repaired before its next use");
        }
        Err(_) => tracing::warn!("rollback takes long; the connection will be repaired before its next use"),
    }
}

/// Closes a member's savepoint.
pub(crate) async fn leave<E: Engine>(inner: &Inner<E>, lease: &mut E::Lease, wrote: bool) -> Result<(), StorageError> {
    // Asked again below: a statement whose future was dropped may still be at work.
    if !E::is_whole(lease) {
        return Err(StorageError::Lost);
    }
    let closed = async { if wrote { E::release(lease).await } else { E::undo(lease).await } };
    timeout(inner.settings.commit_limit, closed)
        .await
        .unwrap_or(Err(StorageError::Busy("a connection does not answer")))?;
    if E::is_whole(lease) { Ok(()) } else { Err(StorageError::Lost) }
}
