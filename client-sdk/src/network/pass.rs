//! Calls of other clients: their requests are passed on, and the responses back, as they are.

use super::{
    Network, answer,
    attempt::{Progress, Rest, Until},
    body::Incoming,
    job::Job,
    link,
    world::Target,
};
use crate::{Code, Error};
use bytes::Bytes;
use futures_util::FutureExt;
use h2::SendStream;
use http::Response;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use mesh_layers::CallContext;
use mesh_policy::Idempotency;
use mesh_routing::retry::{Ending, Outcome};
use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
    time::Instant,
};
use tokio::{
    task::AbortHandle,
    time::{Sleep, sleep_until, timeout_at},
};
use tonic::{Status, body::Body};
use tracing::Span;

impl Network {
    /// Sends a request with one message until it is answered.
    ///
    /// # Errors
    /// Why it ends without an answer.
    pub(crate) async fn pass(&self, mut job: Job<'_>) -> Result<Response<Body>, Error> {
        note(job.side_effects);
        self.restrict(&mut job);
        let landed = self.answer(&job, Until::Head, &mut Progress::default()).await?;
        let Rest::Body(incoming) = landed.rest else {
            return Err(Error::new(Code::Internal, "more than the head of a response was read"));
        };
        let mut response = Response::new(Body::new(Relay::new(incoming, job.deadline, None)));
        (*response.status_mut(), *response.headers_mut()) = (landed.http, landed.head);
        Ok(response)
    }

    /// Sends a request whose body streams, once, through a router.
    ///
    /// # Errors
    /// Why it ends without an answer.
    pub(crate) async fn pass_on(&self, job: Job<'_>, body: Body) -> Result<Response<Body>, Error> {
        note(job.side_effects);
        let deadline = job.deadline.into();
        let passing = self.pass_stream(job, body);
        timeout_at(deadline, passing).await.unwrap_or_else(|_| Err(Error::deadline_exceeded()))
    }

    async fn pass_stream(&self, job: Job<'_>, body: Body) -> Result<Response<Body>, Error> {
        let now = Instant::now();
        let place = self.place(&job, 0, now)?;
        let unreachable = |ending| answer::ended(ending, place.tally.cell.as_ref());
        let Some(Target::Router(router)) = &place.target else { return Err(unreachable(Ending::Unreachable)) };
        let head = || job.head(&router.authority, place.epoch.as_ref(), &Span::none(), now);
        let sent = router.send(now, head).await;
        let mut flight = sent.map_err(|_| unreachable(Ending::Unreachable))?;
        let upload = Upload::start(body, flight.body);
        let response = flight.response.await.map_err(|error| {
            flight.trip.failed();
            unreachable(if link::outcome(&error) == Outcome::Refused { Ending::Unreachable } else { Ending::Lost })
        })?;
        flight.trip.answered();
        let (parts, stream) = response.into_parts();
        let incoming = Incoming::Link { stream, trip: flight.trip };
        Ok(Response::from_parts(parts, Body::new(Relay::new(incoming, job.deadline, Some(upload)))))
    }
}

/// What a served call makes others do counts as its own doing (OWN-9).
fn note(side_effects: Idempotency) {
    if side_effects != Idempotency::NoSideEffects {
        CallContext::with_current(CallContext::note_fenced_commit);
    }
}

/// A response's body on its way to another client, until its call's deadline.
struct Relay {
    incoming: Incoming,
    late: Pin<Box<Sleep>>,
    _upload: Option<Upload>,
}

impl Relay {
    fn new(incoming: Incoming, deadline: Instant, upload: Option<Upload>) -> Self {
        Self { incoming, late: Box::pin(sleep_until(deadline.into())), _upload: upload }
    }
}

impl http_body::Body for Relay {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match self.incoming.poll_frame(cx) {
            Poll::Ready(frame) => {
                let lost = |_| Status::unavailable("the response broke off");
                Poll::Ready(frame.map(|frame| frame.map_err(lost)))
            }
            Poll::Pending => match self.late.poll_unpin(cx) {
                Poll::Ready(()) => Poll::Ready(Some(Err(Error::deadline_exceeded().into()))),
                Poll::Pending => Poll::Pending,
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// A request's body on its way up; given up when dropped.
struct Upload(AbortHandle);

impl Upload {
    fn start(body: Body, to: SendStream<Bytes>) -> Self {
        Self(tokio::spawn(upload(body, to)).abort_handle())
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Sends a body as fast as the other side takes it. Where it ends early the stream is reset: the response says so.
async fn upload(mut body: Body, mut to: SendStream<Bytes>) {
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            to.send_reset(h2::Reason::CANCEL);
            return;
        };
        let sent = match frame.into_data() {
            Ok(data) => send(data, &mut to).await,
            Err(frame) => {
                let trailers = frame.into_trailers().unwrap_or_default();
                // It fails only when the stream has ended.
                let _ = to.send_trailers(trailers);
                return;
            }
        };
        if sent.is_none() {
            return;
        }
    }
    let _ = to.send_data(Bytes::new(), true);
}

async fn send(mut data: Bytes, to: &mut SendStream<Bytes>) -> Option<()> {
    while !data.is_empty() {
        to.reserve_capacity(data.len());
        let room = poll_fn(|cx| to.poll_capacity(cx)).await?.ok()?;
        let piece = data.split_to(room.min(data.len()));
        to.send_data(piece, false).ok()?;
    }
    Some(())
}
