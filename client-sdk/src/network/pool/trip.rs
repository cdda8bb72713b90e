//! One call on one of a pool's connections.

use super::{Link, Pool};
use bytes::Bytes;
use h2::{SendStream, client::ResponseFuture};
use http::Request;
use std::{
    sync::{
        Arc,
        atomic::Ordering::{Relaxed, SeqCst},
    },
    time::{Duration, Instant},
};

/// A call given up without any answer after this long counts against its address.
const SILENCE: Duration = Duration::from_secs(1);

/// A request that was sent.
pub struct Flight {
    /// Its response.
    pub response: ResponseFuture,
    /// Where the rest of its body goes, if there is one.
    pub body: SendStream<Bytes>,
    /// Hold it until the response has ended.
    pub trip: Trip,
}

/// Counts a call as in flight until dropped.
pub struct Trip {
    pool: Arc<Pool>,
    link: Arc<Link>,
    begun: Instant,
    answered: bool,
}

impl Trip {
    /// A call begins, on this connection.
    pub fn begin(pool: &Arc<Pool>, link: Arc<Link>, begun: Instant) -> Self {
        link.begin();
        pool.gauge.begin();
        Self { pool: Arc::clone(pool), link, begun, answered: false }
    }

    /// Opens its stream.
    ///
    /// # Errors
    /// If the connection takes no more calls: nothing was sent then.
    pub fn open(&self, head: Request<()>) -> Result<(ResponseFuture, SendStream<Bytes>), h2::Error> {
        self.link.open(head)
    }

    /// The connection's number.
    pub fn link(&self) -> u64 {
        self.link.id
    }

    /// The head of the response came.
    pub fn answered(&mut self) {
        let now = Instant::now();
        self.answered = true;
        self.pool.gauge.answered(now - self.begun, now - self.pool.origin);
        self.link.answered();
        if self.pool.strikes.load(Relaxed) != 0 {
            self.pool.strikes.store(0, Relaxed);
        }
    }

    /// The connection or stream broke.
    pub fn failed(&mut self) {
        self.answered = true;
        self.pool.gauge.failed(self.pool.origin.elapsed());
    }
}

impl Drop for Trip {
    fn drop(&mut self) {
        if !self.answered && self.begun.elapsed() >= SILENCE {
            self.pool.gauge.failed(self.pool.origin.elapsed());
        }
        self.pool.gauge.end();
        self.link.end();
        if self.pool.waiting.load(SeqCst) > 0 {
            self.pool.freed.notify_one();
        }
    }
}
