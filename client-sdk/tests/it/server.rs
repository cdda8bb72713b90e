//! A gRPC server that answers as its handler says.

use bytes::Bytes;
use cell_map::OwnerEpochs;
use h2::{Reason, RecvStream, server::SendResponse};
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use mesh_layers::{MeshError, error::WrongCell, frame};
use prost::Message;
use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::{JoinHandle, JoinSet},
};

use crate::{depot::Echo, world::cell};

/// What a server was asked.
#[derive(Clone, Debug)]
pub struct Seen {
    pub path: String,
    pub headers: HeaderMap,
    pub message: Bytes,
    /// Number of the connection that it came over.
    pub connection: usize,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// One call at a server.
pub struct Asked {
    /// Calls before this one.
    pub number: usize,
    pub seen: Seen,
    pub respond: SendResponse<Bytes>,
    /// Metadata of the response.
    pub metadata: Vec<(&'static str, String)>,
}

impl Asked {
    /// With this metadata on the response.
    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        self.metadata.push((name, value.to_owned()));
        self
    }

    /// The head of a response.
    pub fn head(&self) -> Response<()> {
        let mut response = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
        for (name, value) in &self.metadata {
            response.headers_mut().append(*name, value.parse().unwrap());
        }
        response
    }

    /// Answers with this text.
    pub fn echo(self, text: &str) {
        let response = self.head();
        self.answer(response, &[frame::encode(&echo(text))], "0");
    }

    /// Answers with these pieces of a body and this status.
    pub fn answer(mut self, head: Response<()>, body: &[Bytes], status: &str) {
        let Ok(mut stream) = self.respond.send_response(head, false) else { return };
        for piece in body {
            let _ = stream.send_data(piece.clone(), false);
        }
        let trailers = [(HeaderName::from_static("grpc-status"), HeaderValue::from_str(status).unwrap())];
        let _ = stream.send_trailers(HeaderMap::from_iter(trailers));
    }

    /// Answers trailers-only.
    pub fn fail(self, error: MeshError, unprocessed: bool) {
        let mut response: Response<()> = error.into_http();
        if unprocessed {
            response.headers_mut().insert("cellmesh-unprocessed", HeaderValue::from_static("1"));
        }
        self.send_head(response);
    }

    /// Answers with a head alone.
    pub fn send_head(mut self, response: Response<()>) {
        let _ = self.respond.send_response(response, true);
    }

    pub fn wrong_cell(self, owner: &str, at: OwnerEpochs, unprocessed: bool) {
        let redirect = WrongCell { owner: cell(owner), epochs: at, map_epoch: None };
        self.fail(MeshError::wrong_cell(&redirect), unprocessed);
    }

    /// Resets the stream.
    pub fn reset(mut self, reason: Reason) {
        self.respond.send_reset(reason);
    }

    /// Sends a head and half a message, then resets the stream.
    pub async fn break_off(mut self) {
        let response = self.head();
        let Ok(mut stream) = self.respond.send_response(response, false) else { return };
        let message = frame::encode(&echo("half"));
        let _ = stream.send_data(message.slice(..message.len() / 2), false);
        // Else the reset overtakes what came before.
        tokio::time::sleep(std::time::Duration::from_millis(30)).await;
        stream.send_reset(Reason::INTERNAL_ERROR);
    }

    /// Never answers, until the caller gives up.
    pub async fn hold(self) {
        let _held = self;
        std::future::pending::<()>().await;
    }
}

pub fn echo(text: &str) -> Vec<u8> {
    Echo { text: text.to_owned() }.encode_to_vec()
}

/// A gRPC server that answers as its handler says.
pub struct Server {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<AtomicUsize>,
    closing: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub async fn start<F, Fut>(handler: F) -> Self
    where
        F: Fn(Asked) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), handler).await
    }

    /// Echoes its name and says that it is this cell.
    pub async fn named(name: &'static str) -> Self {
        Self::start(move |asked| async move { asked.with("cellmesh-cell", name).echo(name) }).await
    }

    pub async fn start_at<F, Fut>(address: SocketAddr, handler: F) -> Self
    where
        F: Fn(Asked) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket.bind(&address.into()).unwrap();
        socket.listen(64).unwrap();
        let listener = TcpListener::from_std(socket.into()).unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, connections) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
        let closing = Arc::<Notify>::default();
        let (all, number, closed) = (Arc::clone(&seen), Arc::clone(&connections), Arc::clone(&closing));
        let task = tokio::spawn(async move {
            // Dropped with the task, and the connections with it.
            let mut running = JoinSet::new();
            loop {
                let (stream, _) = tokio::select! {
                    accepted = listener.accept() => accepted.unwrap(),
                    () = closed.notified() => break,
                };
                let number = number.fetch_add(1, Ordering::Relaxed);
                running.spawn(connection(stream, number, handler.clone(), Arc::clone(&all)));
            }
            drop(listener);
            std::future::pending::<()>().await;
        });
        Self { address, seen, connections, closing, task }
    }

    /// Takes no more connections; those that stand go on.
    pub async fn close(&self) {
        self.closing.notify_one();
        while TcpStream::connect(self.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    }

    /// Ends at once, like a process that is killed.
    pub async fn kill(mut self) -> SocketAddr {
        self.task.abort();
        let _ = (&mut self.task).await;
        self.address
    }

    /// The calls that came, but for those that a router answers itself.
    pub fn seen(&self) -> Vec<Seen> {
        let seen = self.seen.lock().unwrap();
        seen.iter().filter(|seen| !seen.path.starts_with("/cellmesh.control.")).cloned().collect()
    }

    /// Connections that were ever made.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

async fn connection<F, Fut>(stream: TcpStream, number: usize, handler: F, all: Arc<Mutex<Vec<Seen>>>)
where
    F: Fn(Asked) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    stream.set_nodelay(true).unwrap();
    let Ok(mut incoming) = h2::server::handshake(stream).await else { return };
    let mut calls = JoinSet::new();
    while let Some(Ok((request, respond))) = incoming.accept().await {
        let (handler, all) = (handler.clone(), Arc::clone(&all));
        calls.spawn(async move {
            let (head, body) = request.into_parts();
            let Some(message) = message(body).await else { return };
            let path = head.uri.path().to_owned();
            let seen = Seen { path, headers: head.headers, message, connection: number };
            let before = {
                let mut all = all.lock().unwrap();
                all.push(seen.clone());
                all.iter().filter(|seen| !seen.path.starts_with("/cellmesh.control.")).count().saturating_sub(1)
            };
            handler(Asked { number: before, seen, respond, metadata: Vec::new() }).await;
        });
    }
}

async fn message(mut body: RecvStream) -> Option<Bytes> {
    let mut bytes = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.ok()?;
        let _ = body.flow_control().release_capacity(data.len());
        bytes.extend_from_slice(&data);
    }
    Some(Bytes::from(bytes).split_off(5))
}
