//! One transaction from queue to COMMIT, detached from whoever asked for it.
//!
//! tonic drops a handler's future when its caller goes away, and a dropped `begin` or statement leaves a connection in
//! a state nobody knows. So everything from BEGIN to COMMIT runs in a task of its own, bounded by its own time limit;
//! the caller only waits for the answer.

use crate::{
    BoxFuture, Engine, Mode, Standing, StorageError, Tx, TxError, TxKind, TxObserver, TxOutcome,
    changes::Touched,
    db::Inner,
    group::{End, Member, leave, roll_back},
    observe,
    turn::enter,
    tx::Parts,
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

/// What kind of transaction it is and how it runs.
#[derive(Clone, Copy)]
pub(crate) struct Way {
    pub(crate) kind: TxKind,
    pub(crate) mode: Mode,
    /// Longest time for its work.
    pub(crate) limit: Duration,
    /// Whether it may share its COMMIT. Only for what is short: those before it in its group wait for it.
    pub(crate) shares: bool,
}

/// Runs `work` in a transaction. What a user's call does is short; steps of moves, global writes and sweeps may not be,
/// and run alone.
pub(crate) async fn run<E, T, B, F>(inner: &Arc<Inner<E>>, kind: TxKind, mode: Mode, work: F) -> Result<T, TxError<B>>
where
    E: Engine,
    T: Send + 'static,
    B: Send + 'static,
    F: for<'t> FnOnce(&'t mut Tx<E>) -> BoxFuture<'t, Result<Ended<T>, TxError<B>>> + Send + 'static,
{
    let shares = matches!(kind, TxKind::Fenced | TxKind::Idempotent | TxKind::Register);
    run_as(Way { kind, mode, limit: inner.settings.time_limit, shares }, inner, work).await
}

/// The same in a way of its own.
pub(crate) async fn run_as<E, T, B, F>(way: Way, inner: &Arc<Inner<E>>, work: F) -> Result<T, TxError<B>>
where
    E: Engine,
    T: Send + 'static,
    B: Send + 'static,
    F: for<'t> FnOnce(&'t mut Tx<E>) -> BoxFuture<'t, Result<Ended<T>, TxError<B>>> + Send + 'static,
{
    let kind = way.kind;
    let report = Report { observer: inner.settings.observer.as_deref(), kind };
    let span = observe::span(kind, E::SYSTEM, &inner.settings.cell);
    let (mut reply, answer) = oneshot::channel();
    let task = {
        let inner = Arc::clone(inner);
        async move {
            // The span ends before the caller hears of it, and so does the loan of the connection.
            let ended = async {
                let mut standing = None;
                let ended = transact(way, &inner, work, &mut reply, &mut standing).await;
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
    way: Way,
    inner: &Arc<Inner<E>>,
    work: F,
    reply: &mut oneshot::Sender<Answer<T, B>>,
    stood: &mut Option<Standing>,
) -> Result<Ended<T>, TxError<B>>
where
    E: Engine,
    F: for<'t> FnOnce(&'t mut Tx<E>) -> BoxFuture<'t, Result<Ended<T>, TxError<B>>> + Send + 'static,
{
    let (lease, mut group) = enter(way, inner, reply).await?;
    let mut tx = Tx::new(lease, Arc::clone(inner), way.mode);
    let ended = {
        let work = timeout(way.limit, AssertUnwindSafe(async { work(&mut tx).await }).catch_unwind());
        match way.mode {
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
            let limit_ms = u64::try_from(way.limit.as_millis()).unwrap_or(u64::MAX);
            Err(StorageError::TimeLimit { limit_ms }.into())
        }
    };
    // The claim on an idempotency key ends after the transaction, when this function returns.
    let Parts { mut lease, events, claim: _claim, standing, touched } = tx.into_parts();
    let wrote = matches!(ended, Ok(Ended::Commit(_)));
    let closed = if !group.is_empty() {
        leave::<E>(inner, &mut lease, wrote).await
    } else if !wrote {
        // It read nothing that is not committed.
        roll_back(inner, &mut lease).await;
        if ended.is_ok() {
            *stood = standing;
        }
        return ended;
    } else if E::is_whole(&mut lease) {
        Ok(())
    } else {
        Err(StorageError::Lost)
    };
    if let Err(error) = closed {
        group.give_up(inner, lease, &error).await;
        return Err(match ended {
            Err(TxError::Storage(own)) => own.into(),
            _ => error.into(),
        });
    }
    let (told, end) = oneshot::channel();
    let touched = if wrote { touched } else { Touched::None };
    group.add(Member { touched, wrote, emitted: wrote && events > 0, told });
    group.settle(inner, lease).await;
    let end = end.await.unwrap_or_else(|_| End::Unknown("the process is shutting down".into()));
    match end {
        End::Committed => {
            if ended.is_ok() {
                *stood = standing;
            }
            ended
        }
        End::Unknown(why) if wrote => Err(StorageError::CommitUnknown(why).into()),
        // What it read may not stand.
        End::Unknown(why) => Err(StorageError::Together { full: false, why: why.into() }.into()),
        End::Fell(error) => Err(error.into()),
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("not a text").to_owned()
}
