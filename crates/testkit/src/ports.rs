//! Free ports on the loopback address.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

/// A port that was free a moment ago. Somebody else may take it before the caller does: prefer port 0 where possible.
///
/// # Errors
/// If no port can be bound.
pub fn free() -> std::io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}
