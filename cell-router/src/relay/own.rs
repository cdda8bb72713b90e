//! Calls that the router answers itself, by tonic services.

use super::{call::refuse, connection::Shared};
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
use tonic::service::Routes;
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
        None => return,
        Some(Err(error)) => return refuse(brain, respond, error, StatusCode::OK, 0),
        Some(Ok(response)) => response,
    };
    let (mut head, body) = response.into_parts();
    head.headers.insert(metadata::CELL, brain.worlds.instances().name.clone());
    head.headers.insert(metadata::HOPS, crate::worker::hops(0));
    let ended = body.is_end_stream();
    let Ok(mut to) = respond.send_response(Response::from_parts(head, ()), ended) else { return };
    if ended {
        return;
    }
    let mut body = pin!(body);
    let late_in_stream = poll_fn(|cx| {
        if poll_copy(body.as_mut(), &mut to, cx).is_ready() || to.poll_reset(cx).is_ready() {
            return Poll::Ready(false);
        }
        late.as_mut().poll(cx).map(|()| true)
    })
    .await;
    if late_in_stream {
        to.send_reset(h2::Reason::CANCEL);
    }
}

async fn answer(mut routes: Routes, request: Request<RecvStream>) -> Result<Response<tonic::body::Body>, MeshError> {
    let request = request.map(|body| tonic::body::Body::new(Incoming(body)));
    poll_fn(|cx| Service::<Request<tonic::body::Body>>::poll_ready(&mut routes, cx))
        .await
        .map_err(|_| MeshError::internal("the router's own service is not ready"))?;
    routes.call(request).await.map_err(|_| MeshError::internal("the router's own service failed"))
}

/// Copies frames until the end, one at a time as the caller takes them.
fn poll_copy(mut body: Pin<&mut tonic::body::Body>, to: &mut SendStream<Bytes>, cx: &mut Context<'_>) -> Poll<()> {
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
                Ok(data) => to.send_data(data, false),
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
