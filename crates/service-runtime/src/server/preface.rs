//! Waiting for a caller's first bytes: hyper would wait for ever.

use std::{io, time::Duration};
use tokio::{io::AsyncWriteExt, net::TcpStream};

/// The HTTP/2 client preface (RFC 9113 §3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How often a caller that sends it bit by bit is looked at.
const STEP: Duration = Duration::from_millis(20);

/// What the first bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opening {
    /// The whole preface.
    Http2,
    /// Something else, HTTP/1 most likely.
    Other,
    /// The caller closed first.
    Closed,
}

/// Waits until the first bytes say what the caller speaks, without taking them from the stream. Not limited in time:
/// the caller of this function is.
pub(super) async fn wait(stream: &TcpStream) -> io::Result<Opening> {
    let mut seen = [0; PREFACE.len()];
    loop {
        let n = stream.peek(&mut seen).await?;
        if n == 0 {
            return Ok(Opening::Closed);
        }
        if seen[..n] != PREFACE[..n] {
            return Ok(Opening::Other);
        }
        if n == PREFACE.len() {
            return Ok(Opening::Http2);
        }
        // `peek` returns at once while anything is unread.
        tokio::time::sleep(STEP).await;
    }
}

/// Tells a caller of HTTP/1 what is spoken here.
pub(super) async fn refuse(mut stream: TcpStream) -> io::Result<()> {
    let body = "this port speaks gRPC over HTTP/2 (prior knowledge)\n";
    let head = "HTTP/1.1 505 HTTP Version Not Supported\r\nconnection: close\r\ncontent-type: text/plain";
    stream.write_all(format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).as_bytes()).await?;
    stream.shutdown().await
}
