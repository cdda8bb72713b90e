//! Opening listeners, one socket for each worker on the same port.

use super::StartError;
use socket2::{Domain, Protocol, Socket, Type};
use std::{
    io,
    net::{SocketAddr, TcpListener},
};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;

/// Sockets that listen on one address.
pub(super) struct Listeners {
    pub(super) address: SocketAddr,
    pub(super) sockets: Vec<TcpListener>,
}

/// Opens `count` sockets. The kernel spreads connections over them (SO_REUSEPORT).
pub(super) fn open(key: &'static str, address: SocketAddr, count: usize) -> Result<Listeners, StartError> {
    let fault = |error| StartError::Listen { key, address, error };
    let first = socket(address, count > 1).map_err(fault)?;
    // With port 0 the first socket's port is the one for all.
    let address = first.local_addr().map_err(fault)?;
    let rest = (1..count).map(|_| socket(address, true));
    let sockets = std::iter::once(Ok(first)).chain(rest).collect::<io::Result<Vec<_>>>().map_err(fault)?;
    Ok(Listeners { address, sockets })
}

fn socket(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
