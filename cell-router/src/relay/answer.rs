//! From a request's message to the response that answers it: the attempts of a pass, driven.

use super::{
    connection::Shared,
    pump::status,
    record::Record,
    request,
    split::{self, Merged},
};
use crate::{
    brain::Brain,
    head::Admitted,
    keys::{Keys, keys},
    pass::{Pass, Place, Step, outcome},
    trace::ClientSpan,
    upstream::{Flight, Trip},
};
use bytes::Bytes;
use h2::{Reason, RecvStream};
use http::{Request, Response};
use mesh_layers::{MeshError, Reason as MeshReason, metadata};
use mesh_routing::retry::Outcome;
use std::{
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::{Duration, Instant},
};
use tonic::Code;

/// Bytes that a parked call costs besides its message.
const PARKED_CALL: usize = 4 * 1024;

/// What answers a call.
pub(super) enum Reply {
    /// A response that is still coming.
    Stream(Box<Coming>),
    /// A response put together here.
    Merged(Box<Merged>),
}

/// A response whose head has come.
pub(super) struct Coming {
    pub(super) response: Response<RecvStream>,
    pub(super) trip: Trip,
    /// Where it came from.
    pub(super) place: Place,
    /// The attempt's span, if it is traced.
    pub(super) span: Option<ClientSpan>,
}

/// A call as its attempts need it.
pub(super) struct Call<'c> {
    pub(super) shared: &'c Shared<'c>,
    pub(super) admitted: &'c Admitted<'c>,
    /// Head of the request as it came, without what is not to go on.
    pub(super) template: &'c Request<()>,
    pub(super) record: &'c Record<'c>,
    /// Hops of the last attempt.
    pub(super) hops: &'c AtomicU32,
}

/// Answers a call.
pub(super) async fn answer(call: Call<'_>, body: &mut RecvStream) -> Result<Reply, MeshError> {
    let Admitted { method, encoding, .. } = *call.admitted;
    let budget = &call.shared.budget;
    let mut doubt = Doubt(Some(call.shared));
    let mut body = doubt.unless_shed(request::read(body, method.max_message, budget).await)?;
    let message = doubt.unless_shed(body.message(encoding, method.max_message, budget))?;
    let keys = keys(method, &message, metadata::user_bytes(call.template.headers())?)?;
    doubt.clear();
    let Keys::Many(many) = &keys else {
        let bytes = std::mem::take(&mut body.bytes);
        return match attempts(&call, bytes, keys.only(), false).await? {
            Some(coming) => Ok(Reply::Stream(coming)),
            None => Err(MeshError::internal("a call for one user was to be divided")),
        };
    };
    Box::pin(split::answer(&call, &message, std::mem::take(&mut body.bytes), many)).await
}

/// A request that has not come whole and made sense yet. One that ends like this, in whatever way, has cost its
/// connection's patience.
struct Doubt<'s>(Option<&'s Shared<'s>>);

impl Doubt<'_> {
    fn clear(mut self) {
        self.0 = None;
    }

    /// That our memory is full is no fault of this request.
    fn unless_shed<T>(&mut self, read: Result<T, MeshError>) -> Result<T, MeshError> {
        if read.as_ref().is_err_and(|error| error.reason() == MeshReason::RateLimited) {
            self.0 = None;
        }
        read
    }
}

impl Drop for Doubt<'_> {
    fn drop(&mut self) {
        if let Some(shared) = self.0 {
            shared.senseless();
        }
    }
}

/// Sends a request until it is answered; none if it must be divided by its keys.
pub(super) async fn attempts(
    call: &Call<'_>,
    mut bytes: Bytes,
    key: Option<&[u8]>,
    among_others: bool,
) -> Result<Option<Box<Coming>>, MeshError> {
    let Admitted { method, believed, deadline, .. } = *call.admitted;
    let worker = call.shared.worker;
    let brain = worker.brain();
    let waits = worker.common.router.wait_for_instances();
    let pass = Pass::new(brain, method, key, among_others, believed, bytes.len(), deadline);
    let mut pass = pass.waiting_until(waits.map(|wait| Instant::now() + wait));
    let mut step = pass.again();
    loop {
        step = match step {
            Step::Send(place) => {
                let now = Instant::now();
                call.hops.store(place.believed.hops, Relaxed);
                let mut head = worker.dress(call.template, &place, deadline, now);
                let tracing = &worker.common.tracing;
                let span = call.record.span.as_ref();
                let span = span.and_then(|span| span.attempt(tracing, &place, brain, head.headers_mut()));
                method.stats.attempts.fetch_add(1, Relaxed);
                let came = match worker.send(&place, method, head, bytes.clone()) {
                    Err(_) => Err(Outcome::Unsent),
                    Ok(flight) => {
                        if !pass.keeps_message() {
                            bytes = Bytes::new();
                        }
                        fly(flight).await
                    }
                };
                match came {
                    Err(outcome) => {
                        end(span, None);
                        pass.after(outcome, Instant::now(), worker.chance())
                    }
                    Ok((response, trip)) => {
                        let has_status = response.headers().contains_key(metadata::GRPC_STATUS);
                        let outcome = if has_status { outcome(response.headers()) } else { Outcome::Answer };
                        match pass.after(outcome, now, worker.chance()) {
                            Step::Relay => {
                                return Ok(Some(Box::new(Coming { response, trip, place, span })));
                            }
                            step => {
                                end(span, Some(status(response.headers())));
                                step
                            }
                        }
                    }
                }
            }
            Step::Wait { wait, parked } => {
                let _parked = parked.then(|| Parked::new(call.shared, bytes.len(), wait)).transpose()?;
                tokio::time::sleep(wait).await;
                pass.again()
            }
            Step::Divide => return Ok(None),
            Step::Relay => return Err(MeshError::internal("there is no answer to relay")),
            Step::End(error) => return Err(error),
        }
    }
}

/// Ends an attempt's span, if there is one.
pub(super) fn end(span: Option<ClientSpan>, code: Option<Code>) {
    if let Some(span) = span {
        span.end(code);
    }
}

/// Waits for the head of the response.
async fn fly(flight: Flight) -> Result<(Response<RecvStream>, Trip), Outcome> {
    let Flight { response, trip } = flight;
    match response.await {
        Ok(response) => {
            trip.answered();
            Ok((response, trip))
        }
        Err(error) => {
            trip.failed();
            Err(if is_unprocessed(&error) { Outcome::Refused } else { Outcome::Lost })
        }
    }
}

/// Whether the other side vouches that no application saw the request (RFC 9113, 8.7): REFUSED_STREAM, or a GOAWAY whose
/// last stream is an earlier one, which is the only way h2 ends a stream with its peer's GOAWAY.
fn is_unprocessed(error: &h2::Error) -> bool {
    error.is_remote() && (error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM))
}

/// Bytes of a call that waits for a move, until dropped.
struct Parked<'b> {
    brain: &'b Brain,
    bytes: usize,
}

impl<'b> Parked<'b> {
    fn new(shared: &Shared<'b>, message: usize, wait: Duration) -> Result<Self, MeshError> {
        let (brain, bytes) = (shared.worker.brain(), message + PARKED_CALL);
        let parked = Self { brain, bytes };
        if brain.parked_bytes.fetch_add(bytes, Relaxed) + bytes > shared.worker.common.router.park_bytes {
            return Err(MeshError::moving(wait));
        }
        brain.events.parked.fetch_add(1, Relaxed);
        Ok(parked)
    }
}

impl Drop for Parked<'_> {
    fn drop(&mut self) {
        self.brain.parked_bytes.fetch_sub(self.bytes, Relaxed);
    }
}
