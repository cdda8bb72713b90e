//! One call on a caller's connection.

use super::{
    answer::{Call, Coming, Reply, answer, end},
    connection::Shared,
    own,
    pump::{Cut, Pump, status},
    record::Record,
    split::Merged,
};
use crate::{
    brain::Brain,
    head::{Admitted, Entry, Rejection, admit},
    worker::hops,
};
use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream, server::SendResponse};
use http::{
    HeaderMap, HeaderValue, Request, Response, StatusCode, Uri,
    header::CONTENT_TYPE,
    uri::{Authority, Scheme},
};
use mesh_layers::{MeshError, metadata};
use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    task::Poll,
    time::Instant,
};
use tokio::time::{Sleep, sleep_until};
use tonic::Code;

/// A call that goes on. Boxed, so that the futures of a connection's calls stay small: they are moved when they begin.
pub(super) struct Open<'s> {
    admitted: Admitted<'s>,
    /// Head of the request, without what is not to go on.
    template: Request<()>,
    body: RecvStream,
    respond: SendResponse<Bytes>,
    record: Record<'s>,
    /// Hops of the last attempt.
    hops: AtomicU32,
}

/// What became of a request's head.
pub(super) enum Begun<'s> {
    /// To be run by [`run`].
    Routed(Box<Open<'s>>),
    /// The router answers itself.
    Own(Pin<Box<dyn Future<Output = ()> + Send + 's>>),
    /// Answered already.
    Ended,
}

/// Begins a call: early rejection.
pub(super) fn begin<'s>(
    shared: &'s Shared<'s>,
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
) -> Begun<'s> {
    let now = Instant::now();
    let (mut head, body) = request.into_parts();
    name_authority(&mut head.uri);
    let common = &*shared.worker.common;
    let brain = &common.brain;
    match admit(brain, shared.gate, &mut head, now) {
        Ok(Entry::Routed(admitted)) => {
            shared.admitted();
            let (path, method) = (head.uri.path(), Some(admitted.method));
            let record = Record::begin(brain, &common.tracing, path, method, &head.headers, now);
            let template = Request::from_parts(head, ());
            Begun::Routed(Box::new(Open { admitted, template, body, respond, record, hops: AtomicU32::new(0) }))
        }
        Ok(Entry::Own { deadline }) => {
            shared.admitted();
            brain.events.own_calls.fetch_add(1, Relaxed);
            Begun::Own(Box::pin(own::serve(shared, deadline, Request::from_parts(head, body), respond)))
        }
        Err(rejection) => {
            let Rejection { error, http, hostile, method } = *rejection;
            brain.events.rejected.fetch_add(1, Relaxed);
            if hostile {
                shared.rejected();
            }
            let mut record = Record::begin(brain, &common.tracing, head.uri.path(), method, &head.headers, now);
            record.ended(error.code());
            refuse(brain, respond, error, http, 0);
            Begun::Ended
        }
    }
}

/// `:authority` is optional for a caller (RFC 9113 §8.3.1), but h2's client sends no request without one.
fn name_authority(uri: &mut Uri) {
    if uri.authority().is_some() {
        return;
    }
    let mut parts = uri.clone().into_parts();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(Authority::from_static("cellmesh"));
    if let Ok(named) = Uri::from_parts(parts) {
        *uri = named;
    }
}

/// How waiting for a reply ended.
enum Waited {
    Replied(Result<Reply, MeshError>),
    Gone,
    Late,
}

/// Serves a call to its end.
pub(super) async fn run(shared: &Shared<'_>, mut open: Box<Open<'_>>) {
    let brain = shared.worker.brain();
    let mut late = pin!(sleep_until(open.admitted.deadline.into()));
    let waited = {
        let Open { admitted, template, body, respond, record, hops } = &mut *open;
        let mut reply = pin!(answer(Call { shared, admitted, template, record, hops }, body));
        poll_fn(|cx| {
            if let Poll::Ready(reply) = reply.as_mut().poll(cx) {
                return Poll::Ready(Waited::Replied(reply));
            }
            if respond.poll_reset(cx).is_ready() {
                return Poll::Ready(Waited::Gone);
            }
            late.as_mut().poll(cx).map(|()| Waited::Late)
        })
        .await
    };
    let error = match waited {
        Waited::Gone => return,
        Waited::Late => MeshError::deadline_exceeded(),
        Waited::Replied(Err(error)) => error,
        Waited::Replied(Ok(Reply::Stream(coming))) => return relay(shared, &mut open, coming, late).await,
        Waited::Replied(Ok(Reply::Merged(merged))) => return give(brain, &mut open, *merged, late).await,
    };
    let Open { mut record, respond, hops, .. } = *open;
    record.ended(error.code());
    refuse(brain, respond, error, StatusCode::OK, hops.into_inner());
}

/// Passes a response on.
async fn relay(shared: &Shared<'_>, open: &mut Open<'_>, coming: Box<Coming>, mut late: Pin<&mut Sleep>) {
    let brain = shared.worker.brain();
    let Coming { response, trip, place, span } = *coming;
    let (mut head, mut from) = response.into_parts();
    // What another router says of who served is believed.
    if place.cell.is_none() || !head.headers.contains_key(metadata::CELL) {
        head.headers.insert(metadata::CELL, place.way(brain).name.clone());
    }
    head.headers.insert(metadata::HOPS, hops(place.believed.hops));
    open.record.served(brain, &place);
    let trailers_only = from.is_end_stream();
    if trailers_only {
        shared.answered(&head.headers);
    }
    let code = trailers_only.then(|| status(&head.headers));
    let Ok(mut to) = open.respond.send_response(Response::from_parts(head, ()), trailers_only) else { return };
    if let Some(code) = code {
        end(span, Some(code));
        return open.record.ended(code);
    }
    let mut pump = Pump::new(&mut from, &mut to);
    let ended = poll_fn(|cx| match pump.poll(cx) {
        Poll::Ready(ended) => Poll::Ready(Some(ended)),
        Poll::Pending => late.as_mut().poll(cx).map(|()| None),
    })
    .await;
    end(span, ended.and_then(Result::ok));
    let code = match ended {
        Some(Ok(code)) => code,
        Some(Err(Cut::Caller)) => return,
        Some(Err(Cut::Sender)) => {
            trip.failed();
            let error = MeshError::cell_unreachable(&place.way(brain).id).info("processed", "unknown");
            break_off(&mut to, error)
        }
        None => break_off(&mut to, MeshError::deadline_exceeded()),
    };
    open.record.ended(code);
}

/// Sends a response that was put together here.
async fn give(brain: &Brain, open: &mut Open<'_>, merged: Merged, mut late: Pin<&mut Sleep>) {
    let Ok(mut to) = open.respond.send_response(merged.head(brain), false) else { return };
    let ended = {
        let mut sending = pin!(merged.send(&mut to));
        poll_fn(|cx| match sending.as_mut().poll(cx) {
            Poll::Ready(sent) => Poll::Ready(Some(sent)),
            Poll::Pending => late.as_mut().poll(cx).map(|()| None),
        })
        .await
    };
    match ended {
        Some(Ok(())) => open.record.ended(Code::Ok),
        Some(Err(_)) => {}
        None => open.record.ended(break_off(&mut to, MeshError::deadline_exceeded())),
    }
}

/// Ends a response that has begun with an error in its trailers.
fn break_off(to: &mut SendStream<Bytes>, error: MeshError) -> Code {
    let code = error.code();
    let mut trailers = error_head(error);
    trailers.remove(CONTENT_TYPE);
    if to.send_trailers(trailers).is_err() {
        to.send_reset(Reason::CANCEL);
    }
    code
}

/// Answers with an error of the router's own.
pub(super) fn refuse(
    brain: &Brain,
    mut respond: SendResponse<Bytes>,
    error: MeshError,
    http: StatusCode,
    hops_made: u32,
) {
    let mut response = Response::new(());
    *response.status_mut() = http;
    *response.headers_mut() = error_head(error);
    response.headers_mut().insert(metadata::CELL, brain.worlds.instances().name.clone());
    response.headers_mut().insert(metadata::HOPS, hops(hops_made));
    // It fails only when the caller has gone.
    let _ = respond.send_response(response, true);
}

fn error_head(error: MeshError) -> HeaderMap {
    let mut headers = error.into_http::<()>().into_parts().0.headers;
    headers.insert(metadata::SOURCE, HeaderValue::from_static("router"));
    headers
}
