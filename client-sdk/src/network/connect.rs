//! How bytes get to an address.

use futures_util::Stream;
use hashbrown::HashMap;
use std::{
    fmt, io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream, duplex},
    net::TcpStream,
    sync::mpsc,
};

/// Idle time of a connection after which the operating system asks whether the other side is still there.
const KEEPALIVE: Duration = Duration::from_secs(20);
/// Bytes that an in-memory connection holds each way.
const IN_MEMORY_BYTES: usize = 256 * 1024;

/// A stream of bytes both ways.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}

/// A connection that is being made.
pub type Connecting<'a> = Pin<Box<dyn Future<Output = io::Result<Box<dyn Io>>> + Send + 'a>>;

/// Makes connections. The mesh speaks HTTP/2 over them, with prior knowledge.
pub trait Connector: fmt::Debug + Send + Sync + 'static {
    /// Connects to an address, `host:port`, as seeds and the mesh's routers name it. The mesh limits how long it takes.
    fn connect<'a>(&'a self, address: &'a str) -> Connecting<'a>;
}

/// Connects by TCP, without delays for small messages (`TCP_NODELAY`) and with keep-alive.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Tcp;

impl Connector for Tcp {
    fn connect<'a>(&'a self, address: &'a str) -> Connecting<'a> {
        Box::pin(async move {
            let socket = TcpStream::connect(address).await?;
            socket.set_nodelay(true)?;
            let keepalive = socket2::TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
            socket2::SockRef::from(&socket).set_tcp_keepalive(&keepalive)?;
            Ok(Box::new(socket) as Box<dyn Io>)
        })
    }
}

/// Connects to listeners in this process, without sockets: for tests and benchmarks. Clones are one network.
///
/// ```
/// # async fn demo() -> Result<(), client_sdk::Error> {
/// let network = client_sdk::InMemory::default();
/// let mut front_door = network.listen("router:7000");
/// let mesh = client_sdk::Mesh::builder().seeds(["router:7000"]).connector(network).build()?;
/// let connection = front_door.accept().await;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default)]
pub struct InMemory(Arc<Mutex<Listeners>>);

type Listeners = HashMap<String, mpsc::UnboundedSender<DuplexStream>>;

impl InMemory {
    /// Listens at an address, instead of who listened there before.
    #[must_use]
    pub fn listen(&self, address: &str) -> Incoming {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.listeners().insert(address.to_owned(), sender);
        Incoming(receiver)
    }

    fn listeners(&self) -> MutexGuard<'_, Listeners> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connector for InMemory {
    fn connect<'a>(&'a self, address: &'a str) -> Connecting<'a> {
        let listener = self.listeners().get(address).cloned();
        Box::pin(async move {
            let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
            let (ours, theirs) = duplex(IN_MEMORY_BYTES);
            listener.ok_or_else(refused)?.send(theirs).map_err(|_| refused())?;
            Ok(Box::new(ours) as Box<dyn Io>)
        })
    }
}

/// Connections that come in at an address of an [`InMemory`] network; none more once it is dropped. A stream, too, as
/// servers take it.
#[derive(Debug)]
pub struct Incoming(mpsc::UnboundedReceiver<DuplexStream>);

impl Incoming {
    /// The next connection; none when another listener has taken the address. Cancel-safe.
    pub async fn accept(&mut self) -> Option<DuplexStream> {
        self.0.recv().await
    }
}

impl Stream for Incoming {
    type Item = io::Result<DuplexStream>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx).map(|connection| connection.map(Ok))
    }
}
