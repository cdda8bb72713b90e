//! Calls that the router answers itself, by tonic services.

use super::{call::refuse, connection::Shared, pump::status};
use bytes::Bytes;
use h2::{RecvStream, SendStream, server::SendResponse};
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame};
use mesh_layers::{MeshError, metadata};
use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Instant,
};
use tonic::{Code, service::Routes};
use tower::Service;

/// Serves one call to its end.
pub(super) async fn serve(
    shared: &Shared<'_>,
    deadline: Option<Instant>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) {
    let brain = shared.worker.brain();
    let mut late = pin!(async {
        match deadline {
            Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
            None => std::future::pending().await,
        }
    });
    let answered = {
        let mut answer = pin!(answer(shared.own.clone(), request));
        poll_fn(|cx| {
            if let Poll::Ready(response) = answer.as_mut().poll(cx) {
                return Poll::Ready(Some(response));
            }
            if respond.poll_reset(cx).is_ready() {
                return Poll::Ready(None);
            }
            late.as_mut().poll(cx).map(|()| Some(Err(MeshError::deadline_exceeded())))
        })
        .await
    };
    let response = match answered {
        None => return shared.senseless(),
        Some(Err(error)) => return refuse(brain, respond, error, StatusCode::OK, 0),
        Some(Ok(response)) => response,
    };
    let (mut head, body) = response.into_parts();
    head.headers.insert(metadata::CELL, brain.worlds.instances().name.clone());
    head.headers.insert(metadata::HOPS, crate::worker::hops(0));
    let ended = body.is_end_stream();
    if ended && is_senseless(status(&head.headers)) {
        shared.senseless();
    }
    let Ok(mut to) = respond.send_response(Response::from_parts(head, ()), ended) else { return };
    if ended {
        return;
    }
    let mut body = pin!(body);
    let mut told_any = false;
    let ended = poll_fn(|cx| {
        if poll_copy(body.as_mut(), &mut to, &mut told_any, cx).is_ready() {
            return Poll::Ready(Ended::Body);
        }
        if to.poll_reset(cx).is_ready() {
            return Poll::Ready(Ended::Gone);
        }
        late.as_mut().poll(cx).map(|()| Ended::Late)
    })
    .await;
    match ended {
        // tonic's reflection answers what it cannot read with the end, and nothing before it.
        Ended::Body if !told_any => shared.senseless(),
        Ended::Late => to.send_reset(h2::Reason::CANCEL),
        Ended::Body | Ended::Gone => {}
    }
}

/// How a response of an own service ended.
enum Ended {
    Body,
    Gone,
    Late,
}

/// What these services answer only to what does not come whole, what they cannot read, or do not have.
const fn is_senseless(code: Code) -> bool {
    matches!(code, Code::Cancelled | Code::Internal | Code::InvalidArgument | Code::Unimplemented)
}

async fn answer(mut routes: Routes, request: Request<RecvStream>) -> Result<Response<tonic::body::Body>, MeshError> {
    let request = request.map(|body| tonic::body::Body::new(Incoming(body)));
    poll_fn(|cx| Service::<Request<tonic::body::Body>>::poll_ready(&mut routes, cx))
        .await
        .map_err(|_| MeshError::internal("the router's own service is not ready"))?;
    routes.call(request).await.map_err(|_| MeshError::internal("the router's own service failed"))
}

/// Copies frames until the end, one at a time as the caller takes them.
fn poll_copy(
    mut body: Pin<&mut tonic::body::Body>,
    to: &mut SendStream<Bytes>,
    told_any: &mut bool,
    cx: &mut Context<'_>,
) -> Poll<()> {
    loop {
        to.reserve_capacity(1);
        if to.capacity() == 0 {
            match ready!(to.poll_capacity(cx)) {
                Some(Ok(_)) => continue,
                _ => return Poll::Ready(()),
            }
        }
        let sent = match ready!(body.as_mut().poll_frame(cx)) {
            None => {
                let _ = to.send_data(Bytes::new(), true);
                return Poll::Ready(());
            }
            Some(Err(_)) => {
                to.send_reset(h2::Reason::INTERNAL_ERROR);
                return Poll::Ready(());
            }
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => {
                    *told_any = true;
                    to.send_data(data, false)
                }
                Err(frame) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        let _ = to.send_trailers(trailers);
                    }
                    return Poll::Ready(());
                }
            },
        };
        if sent.is_err() {
            return Poll::Ready(());
        }
    }
}

/// A request body as tonic wants it.
struct Incoming(RecvStream);

impl Body for Incoming {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        match ready!(self.0.poll_data(cx)) {
            Some(Ok(data)) => {
                let _ = self.0.flow_control().release_capacity(data.len());
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Some(Err(error)) => Poll::Ready(Some(Err(error))),
            None => {
                let trailers = ready!(self.0.poll_trailers(cx));
                Poll::Ready(trailers.transpose().map(|trailers| trailers.map(Frame::trailers)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }
}
