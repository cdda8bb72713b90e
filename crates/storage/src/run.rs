//! One transaction from queue to COMMIT, detached from whoever asked for it.
//!
//! tonic drops a handler's future when its caller goes away, and a dropped `begin` or statement leaves a connection in
//! a state nobody knows. So everything from BEGIN to COMMIT runs in a task of its own, bounded by its own time limit;
//! the caller only waits for the answer.

use crate::{
    BoxFuture, Engine, Mode, Standing, StorageError, Tx, TxError, TxKind, TxObserver, TxOutcome, db::Inner,
    engine::CommitError, observe, tx::Parts,
};
use futures_util::FutureExt as _;
use std::{any::Any, panic::AssertUnwindSafe, sync::Arc, time::Duration};
use tokio::{sync::oneshot, time::timeout};
use tracing::Instrument as _;

/// How a transaction's work wants it to end.
pub(crate) enum Ended<T> {
    /// Commit.
    Commit(T),
    /// Nothing was written; this is the answer of an earlier transaction.
    Replay(T),
}

/// How a transaction ended, and where its user's data stands if it ended well.
type Answer<T, B> = (Result<Ended<T>, TxError<B>>, Option<Standing>);

/// Reports to the observer exactly once, on the caller's task, even if the caller's future is dropped.
struct Report<'a> {
    observer: Option<&'a dyn TxObserver>,
    kind: TxKind,
}

impl Report<'_> {
    fn finished(mut self, outcome: TxOutcome<'_>, standing: Option<&Standing>) {
        if let Some(observer) = self.observer.take() {
            if let Some(standing) = standing {
                observer.stood(standing);
            }
            observer.finished(self.kind, outcome);
        }
    }
}

impl Drop for Report<'_> {
    fn drop(&mut self) {
        if let Some(observer) = self.observer.take() {
            observer.finished(self.kind, TxOutcome::CallerGone);
        }
    }
}

/// Runs `work` in a transaction.
pub(crate) async fn run<E, T, B, F>(inner: &Arc<Inner<E>>, kind: TxKind, mode: Mode, work: F) -> Result<T, TxError<B>>
where
    E: Engine,
    T: Send + 'static,
    B: Send + 'static,
    F: for<'t> FnOnce(&'t mut Tx<E>) -> BoxFuture<'t, Result<Ended<T>, TxError<B>>> + Send + 'static,
{
    run_within(inner.settings.time_limit, inner, kind, mode, work).await
}

/// The same with another time limit than the settings'.
pub(crate) async fn run_within<E, T, B, F>(
    limit: Duration,
    inner: &Arc<Inner<E>>,
    kind: TxKind,
    mode: Mode,
    work: F,
) -> Result<T, TxError<B>>
where
    E: Engine,
    T: Send + 'static,
    B: Send + 'static,
    F: for<'t> FnOnce(&'t mut Tx<E>) -> BoxFuture<'t, Result<Ended<T>, TxError<B>>> + Send + 'static,
{
    let report = Report { observer: inner.settings.observer.as_deref(), kind };
    let span = observe::span(kind, E::SYSTEM, &inner.settings.cell);
    let (mut reply, answer) = oneshot::channel();
    let task = {
        let inner = Arc::clone(inner);
        async move {
            // The span ends before the caller hears of it, and so does the loan of the connection.
            let ended = async {
                let mut standing = None;
                let ended = transact(limit, &inner, mode, work, &mut reply, &mut standing).await;
                record(&ended);
                (ended, standing)
            }
            .instrument(span)
            .await;
            // A caller that is gone does not want it.
            let _ = reply.send(ended);
        }
    };
    tokio::spawn(task);
    let (ended, standing) = answer.await.unwrap_or_else(|_| {
        // The runtime shut down under the task.
        (Err(StorageError::CommitUnknown("the process is shutting down".into()).into()), None)
    });
    report.finished(outcome(&ended), standing.as_ref());
    ended.map(|ended| match ended {
        Ended::Commit(value) | Ended::Replay(value) => value,
    })
}

fn outcome<T, B>(ended: &Result<Ended<T>, TxError<B>>) -> TxOutcome<'_> {
    match ended {
        Ok(Ended::Commit(_)) => TxOutcome::Committed,
        Ok(Ended::Replay(_)) => TxOutcome::Replayed,
        Err(TxError::Refused(refusal)) => TxOutcome::Refused(refusal),
        Err(TxError::Storage(StorageError::CommitUnknown(_))) => TxOutcome::Unknown,
        Err(_) => TxOutcome::RolledBack,
    }
}

fn record<T, B>(ended: &Result<Ended<T>, TxError<B>>) {
    let span = tracing::Span::current();
    span.record("outcome", outcome(ended).as_str());
    if matches!(ended, Err(TxError::Storage(_))) {
        span.record("otel.status_code", "ERROR");
    }
}

async fn transact<E, T, B, F>(
    time_limit: Duration,
    inner: &Arc<Inner<E>>,
    mode: Mode,
    work: F,
    reply: &mut oneshot::Sender<Answer<T, B>>,
    stood: &mut Option<Standing>,
) -> Result<Ended<T>, TxError<B>>
where
    E: Engine,
    F: for<'t> FnOnce(&'t mut Tx<E>) -> BoxFuture<'t, Result<Ended<T>, TxError<B>>> + Send + 'static,
{
    let limits = &inner.settings;
    // While it waits its turn nothing has begun, so a caller that leaves takes its place in the queue with it.
    let mut lease = tokio::select! {
        biased;
        lease = timeout(limits.queue_limit, inner.engine.acquire(mode)) => {
            lease.map_err(|_| StorageError::Busy("the queue for a connection was too slow"))??
        }
        () = reply.closed() => return Err(StorageError::Abandoned.into()),
    };
    E::begin(&mut lease, mode).await?;

    let mut tx = Tx::new(lease, Arc::clone(inner), mode);
    let ended = {
        let work = timeout(time_limit, AssertUnwindSafe(async { work(&mut tx).await }).catch_unwind());
        match mode {
            Mode::Write => work.await,
            // Reading on for a caller that is gone helps nobody.
            Mode::Read => tokio::select! {
                ended = work => ended,
                () = reply.closed() => Ok(Ok(Err(StorageError::Abandoned.into()))),
            },
        }
    };
    let ended = match ended {
        Ok(Ok(ended)) => ended,
        Ok(Err(panic)) => Err(StorageError::Panicked(panic_text(&*panic)).into()),
        Err(_) => {
            let limit_ms = u64::try_from(time_limit.as_millis()).unwrap_or(u64::MAX);
            Err(StorageError::TimeLimit { limit_ms }.into())
        }
    };
    // The claim on an idempotency key ends after the transaction, when this function returns.
    let Parts { mut lease, events, claim: _claim, standing, touched } = tx.into_parts();
    match ended {
        Ok(Ended::Commit(value)) => {
            let unknown = match timeout(limits.commit_limit, E::commit(&mut lease)).await {
                Ok(Ok(())) => None,
                Ok(Err(CommitError::Refused(error))) => {
                    roll_back::<E>(limits.commit_limit, &mut lease).await;
                    return Err(error.into());
                }
                Ok(Err(CommitError::Unknown(why))) => Some(why),
                Err(_) => Some("it took longer than its limit".into()),
            };
            // It stands, or may stand. Told before the connection goes back, as whoever borrows it next may rely on.
            inner.changes.tell(&touched);
            if let Some(why) = unknown {
                return Err(StorageError::CommitUnknown(why).into());
            }
            // Back to the pool before anybody is told.
            drop(lease);
            if events > 0 {
                inner.events.send_modify(|commits| *commits += 1);
            }
            *stood = standing;
            Ok(Ended::Commit(value))
        }
        other => {
            roll_back::<E>(limits.commit_limit, &mut lease).await;
            if other.is_ok() {
                *stood = standing;
            }
            other
        }
    }
}

/// Rolls back now, so that locks are free when the caller hears of it. If it fails or takes too long, the lease's
/// next borrower sees to it.
async fn roll_back<E: Engine>(limit: Duration, lease: &mut E::Lease) {
    match timeout(limit, E::rollback(lease)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::warn!(%error, "rollback failed; the connection will be repaired before its next use");
        }
        Err(_) => tracing::warn!("rollback takes long; the connection will be repaired before its next use"),
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("not a text").to_owned()
}
