//! The plainest hyper HTTP/2 reverse proxy: no routing, no limits, one upstream connection, no reconnect. Not a peer but a
//! floor: what forwarding alone costs on the same stack.

use hyper::{Request, body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::net::SocketAddr;
use tokio::net::{TcpListener, TcpStream};

/// Serves until killed.
///
/// # Errors
/// If the address cannot be bound or the upstream cannot be reached.
pub async fn run(listen: SocketAddr, upstream: SocketAddr) -> anyhow::Result<()> {
    let listener = TcpListener::bind(listen).await?;
    let socket = TcpStream::connect(upstream).await?;
    socket.set_nodelay(true)?;
    let (sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .initial_max_send_streams(2000)
        .initial_connection_window_size(1 << 24)
        .handshake::<_, Incoming>(TokioIo::new(socket))
        .await?;
    tokio::spawn(connection);
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let sender = sender.clone();
        let forward = service_fn(move |request: Request<Incoming>| {
            let mut sender = sender.clone();
            async move {
                let (mut head, body) = request.into_parts();
                let path = head.uri.path_and_query().map_or("/", |p| p.as_str());
                head.uri = http::Uri::builder().scheme("http").authority("backend").path_and_query(path).build()?;
                anyhow::Ok(sender.send_request(Request::from_parts(head, body)).await?)
            }
        });
        let mut server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        server.max_concurrent_streams(2000).initial_connection_window_size(1 << 24);
        tokio::spawn(server.serve_connection(TokioIo::new(socket), forward));
    }
}
