//! One HTTP/2 connection.

use super::{connect::Io, settings::Settings};
use bytes::Bytes;
use h2::{
    Ping, PingPong, Reason, SendStream,
    client::{Builder, Connection, ResponseFuture, SendRequest},
};
use http::Request;
use mesh_layers::sieve::Sieve;
use mesh_routing::retry::Outcome;
use std::{
    io,
    sync::atomic::{
        AtomicBool, AtomicU32,
        Ordering::{Relaxed, SeqCst},
    },
};
use tokio::time::timeout;

/// Window of one response.
const STREAM_WINDOW: u32 = 1024 * 1024;
/// Window of all responses together.
const CONNECTION_WINDOW: u32 = 8 * 1024 * 1024;
/// Longest response head, in bytes.
const HEADER_LIST: u32 = 64 * 1024;

/// One connection.
pub(super) struct Link {
    /// Tells it from the others of its pool.
    pub id: u64,
    sender: SendRequest<Bytes>,
    in_flight: AtomicU32,
    answered: AtomicBool,
}

/// What moves a connection's bytes: run it until it ends.
pub(super) type Driver = Connection<Sieve<Box<dyn Io>>, Bytes>;

/// Connects; nothing moves until the driver runs.
pub(super) async fn connect(address: &str, id: u64, settings: &Settings) -> io::Result<(Link, Driver)> {
    let connecting = async {
        let io = settings.connector.connect(address).await?;
        let mut builder = Builder::new();
        builder
            .enable_push(false)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(HEADER_LIST);
        builder.handshake(Sieve::new(io)).await.map_err(io::Error::other)
    };
    let connected = timeout(settings.connect_timeout, connecting).await;
    let (sender, driver) = connected.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    Ok((Link { id, sender, in_flight: AtomicU32::new(0), answered: AtomicBool::new(false) }, driver))
}

/// Moves a connection's bytes until it ends or is silent for too long.
pub(super) async fn drive(mut connection: Driver, settings: &Settings) {
    let pings = connection.ping_pong();
    tokio::select! {
        biased;
        ended = connection => if let Err(error) = ended {
            tracing::debug!(%error, "connection ended");
        },
        // Dropping the connection ends its streams.
        () = silence(pings, settings) => tracing::debug!("connection is silent, given up"),
    }
}

/// Ends when a ping is not answered.
async fn silence(pings: Option<PingPong>, settings: &Settings) {
    let (Some(mut pings), Some(every)) = (pings, settings.ping_every) else { return std::future::pending().await };
    loop {
        tokio::time::sleep(every).await;
        match timeout(settings.ping_timeout, pings.ping(Ping::opaque())).await {
            Ok(Ok(_)) => {}
            // The connection itself has ended and says so.
            Ok(Err(_)) => return std::future::pending().await,
            Err(_) => return,
        }
    }
}

impl Link {
    /// Opens a stream; the request's body is still to be sent.
    ///
    /// # Errors
    /// If the connection takes no more calls: nothing was sent then.
    pub fn open(&self, head: Request<()>) -> Result<(ResponseFuture, SendStream<Bytes>), h2::Error> {
        // A handle of its own: a shared one refuses while an earlier stream waits for the peer's stream limit.
        self.sender.clone().send_request(head, false)
    }

    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    pub fn begin(&self) {
        self.in_flight.fetch_add(1, Relaxed);
    }

    pub fn end(&self) {
        // Ordered with the look for those who wait for a stream (`Pool::leave`).
        self.in_flight.fetch_sub(1, SeqCst);
    }

    /// A response came.
    pub fn answered(&self) {
        if !self.answered.load(Relaxed) {
            self.answered.store(true, Relaxed);
        }
    }

    /// Whether any response ever came.
    pub fn was_of_use(&self) -> bool {
        self.answered.load(Relaxed)
    }
}

/// What a broken stream means: whether the other side vouches that no application saw the request (RFC 9113, 8.7) by
/// REFUSED_STREAM, or by a GOAWAY whose last stream is an earlier one, which is the only way h2 ends a stream with its
/// peer's GOAWAY.
pub(super) fn outcome(error: &h2::Error) -> Outcome {
    let unprocessed = error.is_remote() && (error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM));
    if unprocessed { Outcome::Refused } else { Outcome::Lost }
}
