//! One HTTP/2 connection to an instance or router.

use bytes::Bytes;
use h2::{
    Ping, PingPong,
    client::{Builder, Connection, ResponseFuture, SendRequest},
};
use http::Request;
use mesh_layers::sieve::Sieve;
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{net::TcpStream, sync::Notify, task::JoinHandle, time::timeout};

/// Longest wait for a connection and its handshake.
const CONNECT: Duration = Duration::from_secs(2);
/// Time between two pings.
const PING_EVERY: Duration = Duration::from_secs(5);
/// Longest wait for a ping's answer.
const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// Window of one response.
const STREAM_WINDOW: u32 = 256 * 1024;
/// Window of all responses together.
const CONNECTION_WINDOW: u32 = 8 * 1024 * 1024;
/// Longest response head, in bytes.
const HEADER_LIST: u32 = 32 * 1024;

/// One connection.
#[derive(Debug)]
pub(super) struct Link {
    sender: SendRequest<Bytes>,
    in_flight: AtomicU32,
    retired: Notify,
}

/// The task that moves a connection's bytes.
pub(super) type Driver = JoinHandle<()>;

/// Connects; the driver runs until the connection ends.
pub(super) async fn connect(address: &str) -> io::Result<(Arc<Link>, Driver)> {
    let connecting = async {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        let mut builder = Builder::new();
        builder
            .enable_push(false)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(HEADER_LIST);
        builder.handshake(Sieve::new(socket)).await.map_err(io::Error::other)
    };
    let (sender, connection) =
        timeout(CONNECT, connecting).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    let driver = tokio::spawn(drive(connection));
    Ok((Arc::new(Link { sender, in_flight: AtomicU32::new(0), retired: Notify::new() }), driver))
}

/// Moves the connection's bytes until it ends or is silent for too long.
async fn drive(mut connection: Connection<Sieve<TcpStream>, Bytes>) {
    let pings = connection.ping_pong();
    tokio::select! {
        biased;
        ended = connection => if let Err(error) = ended {
            tracing::debug!(%error, "connection ended");
        },
        // Dropping the connection ends its streams.
        () = silence(pings) => tracing::warn!("connection is silent, given up"),
    }
}

/// Ends when a ping is not answered.
async fn silence(pings: Option<PingPong>) {
    let Some(mut pings) = pings else { return std::future::pending().await };
    loop {
        tokio::time::sleep(PING_EVERY).await;
        match timeout(PING_TIMEOUT, pings.ping(Ping::opaque())).await {
            Ok(Ok(_)) => {}
            // The connection itself has ended and says so.
            Ok(Err(_)) => return std::future::pending().await,
            Err(_) => return,
        }
    }
}

impl Link {
    /// Opens a stream and sends a request with its whole body.
    pub(super) fn open(&self, head: Request<()>, body: Bytes) -> Result<ResponseFuture, h2::Error> {
        // A handle of its own: a shared one refuses while an earlier stream waits for the peer's stream limit.
        let mut sender = self.sender.clone();
        let (response, mut stream) = sender.send_request(head, false)?;
        stream.send_data(body, true)?;
        Ok(response)
    }

    pub(super) fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    pub(super) fn begin(&self) {
        self.in_flight.fetch_add(1, Relaxed);
    }

    pub(super) fn end(&self) {
        self.in_flight.fetch_sub(1, Relaxed);
    }

    /// Takes no more calls.
    pub(super) fn retire(&self) {
        self.retired.notify_one();
    }

    /// Waits until the connection ends, or should take no more calls; the driver goes on for those in flight.
    pub(super) async fn ended_or_retired(&self, mut driver: Driver) {
        tokio::select! {
            _ = &mut driver => {}
            () = self.retired.notified() => {}
        }
    }
}
