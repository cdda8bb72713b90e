//! How a network is set up.

use super::{
    colocated::Colocated,
    connect::{Connector, Tcp},
};
use mesh_routing::budget::Limits;
use std::{path::PathBuf, sync::Arc, time::Duration};

/// How a network is set up.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Front doors of routers, `host:port`.
    pub seeds: Vec<String>,
    /// Makes connections.
    pub connector: Arc<dyn Connector>,
    /// Where the last good copy of what routers told is kept.
    pub last_good: Option<PathBuf>,
    /// Most connections to an address.
    pub links: usize,
    /// Most calls in flight on a connection.
    pub streams: u32,
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
    /// Time between two HTTP/2 pings of a connection; none: it is not pinged.
    pub ping_every: Option<Duration>,
    /// Longest wait for a ping's answer.
    pub ping_timeout: Duration,
    /// How much may be sent again, for each cell.
    pub retries: Limits,
    /// Largest response message, in bytes.
    pub max_response: usize,
    /// Services in this process.
    pub colocated: Vec<Colocated>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            seeds: Vec::new(),
            connector: Arc::new(Tcp),
            last_good: None,
            links: 4,
            streams: 100,
            connect_timeout: Duration::from_secs(1),
            ping_every: Some(Duration::from_secs(5)),
            ping_timeout: Duration::from_secs(3),
            retries: Limits::default(),
            max_response: 4 << 20,
            colocated: Vec::new(),
        }
    }
}
