//! The attempts of one call: decide, send, see what came of it, decide again.

use super::{
    Network, answer,
    answer::Answer,
    body::{Broken, Incoming, Messages},
    job::Job,
    link,
    pool::Pool,
    span,
    tally::{Tally, count},
    world::{Dice, Place, Target},
};
use crate::{Code, Error};
use bytes::Bytes;
use cell_map::CellId;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::Full;
use mesh_layers::{Reason, error::DOMAIN, frame::Encoding, metadata};
use mesh_policy::Idempotency;
use mesh_routing::{
    learn::Redirect,
    retry::{Ending, Next, Outcome},
};
use std::{sync::Arc, time::Instant};
use tonic::body::Body;
use tower::ServiceExt;
use tracing::Span;

/// Direct attempts that may miss before a call goes through a router.
pub(super) const MISSES: u8 = 2;

/// How far an attempt goes before it counts as answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// The response's head.
    Head,
    /// The first message of a stream, or its end.
    First,
    /// The end of a unary response.
    End,
}

/// What answered a call.
pub(super) struct Landed {
    pub http: StatusCode,
    pub head: HeaderMap,
    pub rest: Rest,
}

/// What came, or comes, after a response's head.
pub(super) enum Rest {
    /// Everything to come.
    Body(Incoming),
    /// The first message, if there was one, and what is to come.
    Stream(Option<Bytes>, Messages),
    /// The one message of a unary response, if there was one, and the trailers.
    Whole(Option<Bytes>, Option<HeaderMap>),
}

/// How far a call has come, for whoever must end it.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// How often it was sent.
    pub sent: u8,
    /// The cell it was sent to last, or was to be.
    pub tally: Option<Arc<Tally>>,
}

/// Why an attempt was not answered.
enum Crash {
    /// Nothing came, or not all.
    Broken(Outcome),
    /// Something came that no other attempt would make better.
    Bad(Error),
}

impl Landed {
    pub fn answer(&self) -> Answer<'_> {
        let trailers = match &self.rest {
            Rest::Body(_) => None,
            Rest::Stream(_, messages) => messages.trailers(),
            Rest::Whole(_, trailers) => trailers.as_ref(),
        };
        Answer { http: self.http, head: &self.head, trailers }
    }
}

impl Progress {
    /// An error with the cell and the number of attempts.
    pub fn note(&self, error: Error) -> Error {
        let cell = self.tally.as_ref().and_then(|tally| tally.cell.clone());
        error.at_cell(cell).after(self.sent)
    }

    /// The error that an answer says, with the cell that gave it.
    pub fn failed(&self, answer: &Answer<'_>) -> Error {
        let error = answer.error();
        // A router that says who is to blame does not mean itself.
        let blamed = error.info().iter().find(|(key, _)| key == "cell" && error.domain() == DOMAIN);
        let blamed = blamed.and_then(|(_, cell)| CellId::new(cell).ok());
        let cell = blamed.or_else(|| answer.cell(self.tally.as_ref()?));
        error.at_cell(cell).after(self.sent)
    }
}

impl Network {
    /// Sends a call until it is answered. Cancel-safe: dropping it cancels the call.
    ///
    /// # Errors
    /// Why it ends without an answer; an answer that is an error is an answer.
    pub(super) async fn answer(&self, job: &Job<'_>, until: Until, progress: &mut Progress) -> Result<Landed, Error> {
        let attempts = self.attempts(job, until, progress);
        match tokio::time::timeout_at(job.deadline.into(), attempts).await {
            Ok(result) => result.map_err(|error| progress.note(error)),
            Err(_) => Err(progress.note(Error::deadline_exceeded())),
        }
    }

    async fn attempts(&self, job: &Job<'_>, until: Until, progress: &mut Progress) -> Result<Landed, Error> {
        let (mut retry, mut misses) = (job.retry(), 0);
        loop {
            let now = Instant::now();
            let place = self.place(job, misses, now)?;
            let tally = &place.tally;
            if progress.tally.is_none() {
                count(&tally.counts.calls);
            }
            if progress.tally.as_ref().is_none_or(|last| !Arc::ptr_eq(last, tally)) {
                progress.tally = Some(Arc::clone(tally));
            }
            let flown = match place.target {
                Some(_) => self.fly(job, &place, until, progress, now).await,
                None => Err(Crash::Broken(Outcome::Unsent)),
            };
            let (outcome, landed) = match flown {
                Ok(landed) => match landed.answer().outcome() {
                    Outcome::Answer => {
                        tally.budget.earn();
                        return Ok(landed);
                    }
                    outcome => (outcome, Some(landed)),
                },
                Err(Crash::Broken(outcome)) => (outcome, None),
                Err(Crash::Bad(error)) => return Err(error),
            };
            let now = Instant::now();
            let at = if matches!(place.target, Some(Target::Router(_))) { None } else { tally.cell.as_ref() };
            if job.among_others
                && let Outcome::WrongCell { unprocessed, .. } | Outcome::Moving { unprocessed, .. } = &outcome
            {
                // It may speak of any of the users: nothing is learnt, and who asks goes on with each alone, which he
                // may do with what was not processed, or changes nothing.
                let may_go_on = *unprocessed || job.side_effects == Idempotency::NoSideEffects;
                let aborted = || answer::ended(Ending::Aborted, tally.cell.as_ref());
                return landed.filter(|_| may_go_on).ok_or_else(aborted);
            }
            let next = retry.next(&outcome, at, place.asked, now, self.chance());
            if missed(&outcome, &place) && !matches!(next, Next::Park(_)) {
                misses += 1;
            }
            // What was never sent is no load: sending it elsewhere takes nothing of the budget.
            let (budgeted, lost) = match outcome {
                Outcome::Lost => (true, true),
                Outcome::Refused | Outcome::Unavailable(_) => (true, false),
                Outcome::Unsent => {
                    count(&tally.counts.unsent);
                    (false, false)
                }
                Outcome::WrongCell { owner, epochs, .. } => {
                    self.believe(job, &place, at, Redirect { cell: owner, epochs });
                    (false, false)
                }
                Outcome::Answer | Outcome::Moving { .. } => (false, false),
            };
            let wait = match (next, landed) {
                (Next::Relay, Some(landed)) => return Ok(landed),
                (Next::Relay, None) => return Err(answer::ended(Ending::Lost, tally.cell.as_ref())),
                (Next::End(ending), _) => return Err(answer::ended(ending, tally.cell.as_ref())),
                (Next::Resend(wait), landed) => {
                    if budgeted && !tally.budget.take(now - self.origin) {
                        count(&tally.counts.budget_exhausted);
                        let ending = if lost { Ending::Lost } else { Ending::Unreachable };
                        return landed.ok_or_else(|| answer::ended(ending, tally.cell.as_ref()));
                    }
                    if budgeted {
                        count(&tally.counts.resends);
                    }
                    wait
                }
                (Next::Park(wait), _) => {
                    count(&tally.counts.moving_waits);
                    wait
                }
            };
            if !wait.is_zero() {
                tokio::time::sleep(wait).await;
            }
        }
    }

    /// Keeps what a redirect says, be it followed or not, unless OWN-8 forbids to believe it: a cell names neither itself
    /// nor an older owner.
    fn believe(&self, job: &Job<'_>, place: &Place, at: Option<&CellId>, redirect: Redirect) {
        if at == Some(&redirect.cell) || place.asked.newer_than(redirect.epochs) {
            return;
        }
        count(&place.tally.counts.redirects);
        if let Some(key) = job.key {
            self.owners.learn(key, redirect);
        }
    }

    /// Decides where the next attempt goes.
    pub(super) fn place(&self, job: &Job<'_>, misses: u8, now: Instant) -> Result<Place, Error> {
        if self.is_closed() {
            return Err(Error::new(Code::Unavailable, "the mesh is closed"));
        }
        let dice = Dice { chance: self.chance(), now: now - self.origin };
        let place = self.world.load().place(job, misses, &self.owners, &self.parts(), dice);
        if place.fallback {
            count(&place.tally.counts.fallbacks);
        }
        Ok(place)
    }

    /// One attempt.
    async fn fly(
        &self,
        job: &Job<'_>,
        place: &Place,
        until: Until,
        progress: &mut Progress,
        now: Instant,
    ) -> Result<Landed, Crash> {
        let span = span::attempt(job, place, progress.sent.saturating_add(1));
        let came = match &place.target {
            Some(Target::Instance(pool) | Target::Router(pool)) => {
                let pool = if until == Until::First { pool.for_streams() } else { pool };
                self.send(job, place, pool, progress, &span, now).await
            }
            Some(Target::Inside(inside)) => {
                note_sent(place, progress);
                let request = job.head(&super::INSIDE, place.epoch.as_ref(), &span, now);
                let mut request = request.map(|()| Body::new(Full::new(job.frame.clone())));
                place.claim(request.headers_mut());
                let Ok(response) = inside.clone().oneshot(request).await;
                Ok(response.map(Incoming::Inside))
            }
            None => Err(Outcome::Unsent),
        };
        let flown = match came {
            Ok(response) => self.land(response, until).await,
            Err(outcome) => Err(Crash::Broken(outcome)),
        };
        span::ended(&span, place, flown.as_ref().ok().map(Landed::answer).as_ref());
        flown
    }

    /// One attempt over a connection, until the head of the response.
    async fn send(
        &self,
        job: &Job<'_>,
        place: &Place,
        pool: &Arc<Pool>,
        progress: &mut Progress,
        span: &Span,
        now: Instant,
    ) -> Result<Response<Incoming>, Outcome> {
        let mut flight = pool.send(now, || job.head(&pool.authority, place.epoch.as_ref(), span, now)).await?;
        note_sent(place, progress);
        flight.body.send_data(job.frame.clone(), true).map_err(|error| link::outcome(&error))?;
        let response = flight.response.await.map_err(|error| {
            flight.trip.failed();
            link::outcome(&error)
        })?;
        flight.trip.answered();
        Ok(response.map(|stream| Incoming::Link { stream, trip: flight.trip }))
    }

    /// Reads a response as far as is wanted.
    async fn land(&self, response: Response<Incoming>, until: Until) -> Result<Landed, Crash> {
        let (parts, body) = response.into_parts();
        let (http, head) = (parts.status, parts.headers);
        // Trailers-only, or no gRPC at all: the status is known, and nothing after it counts.
        if until == Until::Head || head.contains_key(metadata::GRPC_STATUS) || http != StatusCode::OK {
            return Ok(Landed { http, head, rest: Rest::Body(body) });
        }
        let encoding = Encoding::of(&head).map_err(|error| Crash::Bad(unreadable(&error.to_string())))?;
        let mut messages = Messages::new(body, encoding, self.settings.max_response);
        let first = messages.next().await?;
        if until == Until::First {
            return Ok(Landed { http, head, rest: Rest::Stream(first, messages) });
        }
        if first.is_some() && messages.next().await?.is_some() {
            return Err(Crash::Bad(unreadable("it has more than one message")));
        }
        Ok(Landed { http, head, rest: Rest::Whole(first, messages.into_trailers()) })
    }
}

impl From<Broken> for Crash {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Off(outcome) => Self::Broken(outcome),
            Broken::Frame(error) => Self::Bad(frame_error(&error)),
        }
    }
}

/// What is wrong with a response's message.
pub(super) fn frame_error(error: &mesh_layers::frame::FrameError) -> Error {
    match error {
        mesh_layers::frame::FrameError::TooLarge { limit } => {
            let info = vec![("limit".to_owned(), limit.to_string())];
            let message = format!("the response is larger than {limit} bytes");
            answer::of_mesh(Reason::MessageTooLarge, Code::ResourceExhausted, message, info)
        }
        error => unreadable(&error.to_string()),
    }
}

fn unreadable(why: &str) -> Error {
    Error::new(Code::Internal, format!("the response cannot be read: {why}"))
}

fn note_sent(place: &Place, progress: &mut Progress) {
    count(&place.tally.counts.attempts);
    progress.sent = progress.sent.saturating_add(1);
}

/// Whether a direct attempt missed: the cell was not reached, or was the wrong one.
const fn missed(outcome: &Outcome, place: &Place) -> bool {
    let direct = matches!(place.target, Some(Target::Instance(_) | Target::Inside(_)));
    direct && !matches!(outcome, Outcome::Answer | Outcome::Moving { .. } | Outcome::Unavailable(_))
}
