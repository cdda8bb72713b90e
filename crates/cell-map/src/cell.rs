//! Cells: who can be a home.

use crate::{CellId, MapError, RegionId};
use std::fmt;

/// Most endpoints of one kind that a cell may name.
const MAX_ENDPOINTS: usize = 64;

/// Where a cell stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CellState {
    /// Takes new users.
    Active,
    /// Takes no new users, LOCAL or REPLICATED traffic; serves the users it has.
    Draining,
}

impl fmt::Display for CellState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Active => "active",
            Self::Draining => "draining",
        })
    }
}

/// Services, database and cache in one region, able to serve its users alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// Name, like `bj-1`.
    pub id: CellId,
    /// Region, like `beijing`.
    pub region: RegionId,
    /// Share of new users relative to the other cells of its region; 0: none.
    pub weight: u32,
    /// State.
    pub state: CellState,
    /// Peer listeners of the cell's routers, `host:port`.
    pub peer_endpoints: Vec<String>,
    /// Front doors of the cell's routers, `host:port`.
    pub front_endpoints: Vec<String>,
}

impl Cell {
    /// An active cell of weight 1 without endpoints.
    #[must_use]
    pub fn new(id: CellId, region: RegionId) -> Self {
        let (peer_endpoints, front_endpoints) = (Vec::new(), Vec::new());
        Self { id, region, weight: 1, state: CellState::Active, peer_endpoints, front_endpoints }
    }

    /// Whether it takes new users.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.state == CellState::Active
    }

    /// Every endpoint, of both kinds.
    pub(crate) fn endpoints(&self) -> impl Iterator<Item = &str> {
        self.peer_endpoints.iter().chain(&self.front_endpoints).map(String::as_str)
    }

    /// Checks what can be checked without the other cells.
    pub(crate) fn check(&self) -> Result<(), MapError> {
        if self.peer_endpoints.len().max(self.front_endpoints.len()) > MAX_ENDPOINTS {
            return Err(MapError::TooManyEndpoints { cell: self.id.clone(), max: MAX_ENDPOINTS });
        }
        match self.endpoints().find(|endpoint| !is_endpoint(endpoint)) {
            Some(bad) => {
                let endpoint = bad.chars().take(80).collect();
                Err(MapError::Endpoint { cell: self.id.clone(), endpoint })
            }
            None => Ok(()),
        }
    }
}

/// Place of a cell in the map's list. Means nothing in another map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CellIndex(u16);

impl CellIndex {
    pub(crate) const fn new(number: u16) -> Self {
        Self(number)
    }

    /// Its number, as written in a map's bucket entries.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }

    /// Its number as an index into [`crate::CellMap::cells`].
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// `host:port`, the host a DNS name, an IPv4 address or an IPv6 address in brackets.
fn is_endpoint(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let port_is_digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    let port_ok = port_is_digits && port.parse::<u16>().is_ok_and(|port| port != 0);
    let host_ok = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let label = |label: &str| {
                (1..=63).contains(&label.len())
                    && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
                    && !label.starts_with('-')
                    && !label.ends_with('-')
            };
            host.len() <= 253 && host.split('.').all(label)
        }
    };
    port_ok && host_ok
}

#[cfg(test)]
mod tests {
    use super::is_endpoint;

    #[test]
    fn endpoints_are_host_and_port() {
        for good in ["127.0.0.1:7000", "[::1]:7000", "router.bj-1.svc:443", "localhost:1", "my_host:65535"] {
            assert!(is_endpoint(good), "{good}");
        }
        for bad in
            ["", ":", "host", "host:", ":80", "host:0", "host:65536", "host:+80", "::1:80", "http://h:80", "a..b:1"]
        {
            assert!(!is_endpoint(bad), "{bad}");
        }
    }
}
