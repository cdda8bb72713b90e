//! Compares local answers with the server's.
//!
//! A difference says nothing as long as the data may have been another: a snapshot lags behind the server, then runs
//! ahead of what it answered. So the data is looked at before the server is asked, and again once it is known to be
//! complete up to when the answer came. If it is the very same data then, it is what the server saw, and a right logic
//! says the same. Under steady changes a comparison may find no such moment; it counts for nothing then.

use super::{
    LocalLogic, Verdict,
    answer::{Answerer, Request, Response},
    counts::Counts,
};
use crate::{
    Error, Fresh, Method, MethodPolicy,
    feed::Moment,
    ladder,
    wire::{Wants, WireCall},
};
use prost::Message;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How often the server is asked for one comparison.
const ROUNDS: usize = 4;
/// Differences in so many rounds are one mistake.
const DIFFERENCES: usize = 2;
/// How far the clocks of client and server may be apart: within it of a change of mind, answers may differ.
const SKEW_MS: i64 = 5_000;
/// How often is looked whether the data caught up.
const LOOK: Duration = Duration::from_millis(50);
/// How long the server may take, if its policy says nothing.
const DEADLINE: Duration = Duration::from_secs(5);

/// What the logic says, and by what data.
struct Looked<T> {
    answer: T,
    /// Whether it says the same a little earlier and later.
    steady: bool,
    confirmed: Moment,
    version: u64,
}

/// Compares what a logic says to a request with what the server says, and switches the logic off if it is wrong too often.
pub(super) async fn compare<L: LocalLogic>(of: &Answerer<L>, request: &Request<L>) {
    let Some(agreed) = outcome(of, request).await else {
        Counts::add(&of.counts.unsettled);
        return;
    };
    Counts::add(&of.counts.compared);
    let (logic, method) = (L::NAME, <L::Method as Method>::POLICY.path);
    if !agreed {
        Counts::add(&of.counts.differed);
        tracing::warn!(logic, method, "local logic says something else than the server");
    }
    if of.switch.compared(agreed) {
        let (major, minor) = (L::MAJOR, L::MINOR);
        tracing::error!(
            logic,
            major,
            minor,
            method,
            "local logic is switched off: it differed from the server repeatedly"
        );
    }
}

/// Whether they agree; `None` if that cannot be told.
async fn outcome<L: LocalLogic>(of: &Answerer<L>, request: &Request<L>) -> Option<bool> {
    let mut differences = 0;
    for _ in 0..ROUNDS {
        let before = look(of, request)?;
        let said = ask(of, request).await?;
        if said.as_ref() == Some(&before.answer) {
            return Some(true);
        }
        let after = caught_up(of, request, of.line.clock.now()).await?;
        if said.as_ref() == Some(&after.answer) {
            return Some(true);
        }
        let same_data = before.version == after.version && before.answer == after.answer;
        differences += usize::from(same_data && before.steady && after.steady);
        if differences == DIFFERENCES {
            return Some(false);
        }
    }
    None
}

/// What the logic says now; nothing without data, or if it is not sure.
fn look<L: LocalLogic>(of: &Answerer<L>, request: &Request<L>) -> Option<Looked<Response<L>>> {
    let now = of.line.clock.now();
    let (seen, wall) = (of.see(request, now)?, of.wall_ms(now));
    let verdict = of.eval(&seen, wall, request);
    let steady =
        !L::USES_TIME || [-SKEW_MS, SKEW_MS].iter().all(|shift| of.eval(&seen, wall + shift, request) == verdict);
    let Verdict::Answer(answer) = verdict else { return None };
    let standing = Answerer::<L>::standing(&seen);
    Some(Looked { answer, steady, confirmed: standing.confirmed, version: standing.version })
}

/// What the logic says once its data is complete up to then; nothing if that takes too long.
async fn caught_up<L: LocalLogic>(of: &Answerer<L>, request: &Request<L>, then: Moment) -> Option<Looked<Response<L>>> {
    let until = Instant::now() + of.line.settings.lease * 2;
    loop {
        let looked = look(of, request)?;
        if looked.confirmed >= then {
            return Some(looked);
        }
        if Instant::now() >= until {
            return None;
        }
        sleep(LOOK).await;
    }
}

/// What the server says: an answer, or that it refuses (`Some(None)`); nothing if the mesh does not answer.
async fn ask<L: LocalLogic>(of: &Answerer<L>, request: &Request<L>) -> Option<Option<Response<L>>> {
    let policy: &'static MethodPolicy = const { &<L::Method as Method>::POLICY };
    let call = WireCall {
        policy,
        frame: ladder::frame(request).ok()?,
        key: L::Method::key(request).ok()?.map(|key| key.to_user_key()),
        deadline: (Instant::now() + policy.default_deadline.unwrap_or(DEADLINE)).into_std(),
        fresh: Fresh::Authoritative,
        metadata: None,
        wants: Wants::default(),
    };
    match of.line.wire.unary(call).await {
        Ok(reply) => Response::<L>::decode(reply.message).ok().map(Some),
        Err(error) => refuses(&error).then_some(None),
    }
}

/// Whether a service says so about the request itself, which a logic that answers it contradicts.
fn refuses(error: &Error) -> bool {
    error.refuses_request()
}
