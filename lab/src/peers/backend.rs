//! A gRPC-shaped echo: answers with the request's bytes and `grpc-status: 0`.

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::{HeaderMap, Request, Response, body::Frame, body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
};

/// One DATA frame, then trailers.
struct Echo {
    data: Option<Bytes>,
    trailers: Option<HeaderMap>,
}

impl hyper::body::Body for Echo {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let data = self.data.take().map(Frame::data);
        Poll::Ready(data.or_else(|| self.trailers.take().map(Frame::trailers)).map(Ok))
    }
}

async fn echo(request: Request<Incoming>) -> anyhow::Result<Response<Echo>> {
    let data = request.into_body().collect().await?.to_bytes();
    let trailers = HeaderMap::from_iter([("grpc-status".parse()?, "0".parse()?)]);
    let body = Echo { data: Some(data), trailers: Some(trailers) };
    Ok(Response::builder().header("content-type", "application/grpc").body(body)?)
}

/// Serves until killed.
///
/// # Errors
/// If the address cannot be bound.
pub async fn run(listen: SocketAddr) -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::bind(listen).await?;
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let mut server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        server.max_concurrent_streams(2000).initial_connection_window_size(1 << 24);
        tokio::spawn(server.serve_connection(TokioIo::new(socket), service_fn(echo)));
    }
}
