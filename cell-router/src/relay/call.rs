//! One call on a caller's connection.

use super::{
    answer::{Call, Coming, Reply, answer, end},
    connection::Shared,
    own,
    pump::{Cut, Pump, status},
    record::Record,
};
use crate::{
    brain::Brain,
    head::{Admitted, Entry, Rejection, admit},
    worker::hops,
};
use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream, server::SendResponse};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header::CONTENT_TYPE};
use mesh_layers::{MeshError, metadata};
use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    task::Poll,
    time::Instant,
};
use tokio::time::{Sleep, sleep_until};
use tonic::Code;

/// Serves one call to its end.
pub(super) async fn call(shared: &Shared<'_>, request: Request<RecvStream>, respond: SendResponse<Bytes>) {
    let now = Instant::now();
    let (mut head, body) = request.into_parts();
    let common = &shared.worker.common;
    match admit(&common.brain, shared.gate, &mut head, now) {
        Ok(Entry::Routed(admitted)) => {
            shared.admitted();
            routed(shared, &admitted, Request::from_parts(head, ()), body, respond, now).await;
        }
        Ok(Entry::Own { deadline }) => {
            shared.admitted();
            common.brain.events.own_calls.fetch_add(1, Relaxed);
            Box::pin(own::serve(shared, deadline, Request::from_parts(head, body), respond)).await;
        }
        Err(rejection) => {
            let Rejection { error, http, hostile, method } = *rejection;
            common.brain.events.rejected.fetch_add(1, Relaxed);
            if hostile {
                shared.rejected();
            }
            let stats = method.map_or(&common.brain.methods.unknown, |method| &method.stats);
            let mut record = Record::begin(&common.brain, &common.tracing, head.uri.path(), stats, &head.headers, now);
            record.ended(error.code());
            refuse(&common.brain, respond, error, http, 0);
        }
    }
}

/// How waiting for a reply ended.
enum Waited {
    Replied(Result<Reply, MeshError>),
    Gone,
    Late,
}

async fn routed(
    shared: &Shared<'_>,
    admitted: &Admitted<'_>,
    template: Request<()>,
    mut body: RecvStream,
    mut respond: SendResponse<Bytes>,
    now: Instant,
) {
    let common = &shared.worker.common;
    let brain = &common.brain;
    let (path, stats) = (template.uri().path(), &admitted.method.stats);
    let mut record = Record::begin(brain, &common.tracing, path, stats, template.headers(), now);
    let mut late = pin!(sleep_until(admitted.deadline.into()));
    let last_hops = AtomicUsize::new(0);
    let waited = {
        let call = Call { shared, admitted, template: &template, record: &record, hops: &last_hops };
        let mut reply = pin!(answer(call, &mut body));
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
        Waited::Replied(Ok(Reply::Stream(coming))) => {
            if let Some(code) = relay(brain, *coming, respond, late).await {
                record.ended(code);
            }
            return;
        }
        Waited::Replied(Ok(Reply::Merged(merged))) => {
            record.ended(Code::Ok);
            merged.send(brain, respond);
            return;
        }
    };
    record.ended(error.code());
    refuse(brain, respond, error, StatusCode::OK, last_hops.load(Relaxed) as u32);
}

/// Passes a response on; gives its status unless the caller went away.
async fn relay(
    brain: &Brain,
    coming: Coming,
    mut respond: SendResponse<Bytes>,
    mut late: Pin<&mut Sleep>,
) -> Option<Code> {
    let Coming { response, trip, hops: hops_made, cell, span } = coming;
    let (mut head, mut from) = response.into_parts();
    if let Some(cell) = cell {
        head.headers.insert(metadata::CELL, cell);
    }
    head.headers.insert(metadata::HOPS, hops(hops_made));
    let trailers_only = from.is_end_stream();
    let code = trailers_only.then(|| status(&head.headers));
    let mut to = respond.send_response(Response::from_parts(head, ()), trailers_only).ok()?;
    if code.is_some() {
        end(span, code);
        return code;
    }
    let mut pump = Pump::new(&mut from, &mut to);
    let ended = poll_fn(|cx| match pump.poll(cx) {
        Poll::Ready(ended) => Poll::Ready(Some(ended)),
        Poll::Pending => late.as_mut().poll(cx).map(|()| None),
    })
    .await;
    end(span, ended.and_then(Result::ok));
    match ended {
        Some(Ok(code)) => Some(code),
        Some(Err(Cut::Caller)) => None,
        Some(Err(Cut::Sender)) => {
            trip.failed();
            Some(break_off(&mut to, MeshError::cell_unreachable(brain.worlds.here()).info("processed", "unknown")))
        }
        None => Some(break_off(&mut to, MeshError::deadline_exceeded())),
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
