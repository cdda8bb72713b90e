//! Raw HTTP/2 frames for abuse: what no library would send.

use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// What is done to the server, once per stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abuse {
    /// Opens a stream and leaves it open.
    Open,
    /// Opens a stream and resets it at once (CVE-2023-44487).
    RapidReset,
    /// A request without a path: the server must reset the stream.
    Malformed,
    /// Opens a stream and sends a zero window update: the server must reset it (the MadeYouReset kind).
    ZeroWindowUpdate,
    /// An empty, non-final DATA frame on one open stream.
    EmptyData,
    /// A whole gRPC request without `:authority`, which is optional.
    NoAuthority,
    /// A gRPC call with a good head and these bytes as its whole body.
    Body {
        /// `/package.Service/Method`, at most 100 bytes.
        path: &'static str,
        /// What should have been a length-prefixed message.
        body: &'static [u8],
    },
    /// A gRPC call with a good head that is reset in the middle of its body.
    BrokenOff {
        /// As above.
        path: &'static str,
    },
    /// A PING.
    Ping,
    /// A SETTINGS frame.
    Settings,
}

/// How the server took it.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// Frames or streams sent before the end.
    pub sent: u32,
    /// Streams the server refused or reset.
    pub resets: u32,
    /// Error code of the GOAWAY, if one came.
    pub goaway: Option<u32>,
    /// Whether the server closed the connection.
    pub closed: bool,
}

impl Outcome {
    /// Whether the server ended the connection.
    #[must_use]
    pub fn cut_off(&self) -> bool {
        self.closed || self.goaway.is_some_and(|code| code != 0)
    }
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

/// HPACK: `:method POST`, `:scheme http`, `:path /`, `:authority x`, in the static table's indices.
const WHOLE: &[u8] = &[0x83, 0x86, 0x84, 0x41, 0x01, b'x'];
/// The same without `:path`.
const NO_PATH: &[u8] = &[0x83, 0x86, 0x41, 0x01, b'x'];

const LIST_PRODUCTS: &str = "/shop.catalog.v1.CatalogService/ListProducts";

/// `:method POST`, `:scheme http`, `:path` and gRPC's two headers, as literals; no `:authority`.
fn call(path: &str) -> Vec<u8> {
    let length = u8::try_from(path.len()).ok().filter(|length| *length <= 100).expect("a path of at most 100 bytes");
    let grpc = b"\x0f\x10\x10application/grpc\x00\x02te\x08trailers";
    [&b"\x83\x86\x04"[..], &[length], path.as_bytes(), grpc].concat()
}

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// Abuses one connection `times` times, or until the server has had enough.
///
/// # Errors
/// If the connection cannot be made.
pub async fn run(addr: SocketAddr, abuse: Abuse, times: u32) -> std::io::Result<Outcome> {
    let mut socket = TcpStream::connect(addr).await?;
    socket.set_nodelay(true)?;
    let mut out = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    frame(&mut out, SETTINGS, 0, 0, &[]);
    frame(&mut out, SETTINGS, 1, 0, &[]);
    if abuse == Abuse::EmptyData {
        frame(&mut out, HEADERS, 4, 1, WHOLE);
    }
    socket.write_all(&out).await?;
    let mut seen = Outcome { sent: 0, resets: 0, goaway: None, closed: false };
    let mut unread = Vec::new();
    for n in 0..times {
        let stream = 2 * n + 1;
        out.clear();
        match abuse {
            Abuse::Open => frame(&mut out, HEADERS, 4, stream, WHOLE),
            Abuse::RapidReset => {
                frame(&mut out, HEADERS, 4, stream, WHOLE);
                frame(&mut out, RST_STREAM, 0, stream, &8u32.to_be_bytes());
            }
            Abuse::Malformed => frame(&mut out, HEADERS, 5, stream, NO_PATH),
            Abuse::ZeroWindowUpdate => {
                frame(&mut out, HEADERS, 4, stream, WHOLE);
                frame(&mut out, WINDOW_UPDATE, 0, stream, &[0; 4]);
            }
            Abuse::NoAuthority => {
                frame(&mut out, HEADERS, 4, stream, &call(LIST_PRODUCTS));
                frame(&mut out, DATA, 1, stream, &[0; 5]);
            }
            Abuse::Body { path, body } => {
                frame(&mut out, HEADERS, 4, stream, &call(path));
                frame(&mut out, DATA, 1, stream, body);
            }
            Abuse::BrokenOff { path } => {
                frame(&mut out, HEADERS, 4, stream, &call(path));
                frame(&mut out, DATA, 0, stream, &[0, 0, 0, 0, 9, b'x']);
                frame(&mut out, RST_STREAM, 0, stream, &8u32.to_be_bytes());
            }
            Abuse::EmptyData => frame(&mut out, DATA, 0, 1, &[]),
            Abuse::Ping => frame(&mut out, PING, 0, 0, &[0; 8]),
            Abuse::Settings => frame(&mut out, SETTINGS, 0, 0, &[]),
        }
        if !matches!(timeout(Duration::from_secs(5), socket.write_all(&out)).await, Ok(Ok(()))) {
            seen.closed = true;
            break;
        }
        seen.sent += 1;
        if n % 16 == 0 {
            drain(&mut socket, &mut unread, &mut seen, Duration::from_millis(1)).await;
        }
        if seen.cut_off() {
            return Ok(seen);
        }
    }
    drain(&mut socket, &mut unread, &mut seen, Duration::from_millis(500)).await;
    Ok(seen)
}

/// Reads what has come, until nothing comes for `patience`.
async fn drain(socket: &mut TcpStream, unread: &mut Vec<u8>, seen: &mut Outcome, patience: Duration) {
    let mut buffer = [0; 16 << 10];
    loop {
        match timeout(patience, socket.read(&mut buffer)).await {
            Err(_) => break,
            Ok(Ok(0) | Err(_)) => {
                seen.closed = true;
                break;
            }
            Ok(Ok(n)) => unread.extend_from_slice(&buffer[..n]),
        }
    }
    let mut at = 0;
    while let Some(head) = unread.get(at..at + 9) {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let kind = head[3];
        let Some(payload) = unread.get(at + 9..at + 9 + length) else { break };
        match kind {
            RST_STREAM => seen.resets += 1,
            GOAWAY => seen.goaway = payload.get(4..8).and_then(|c| c.try_into().ok()).map(u32::from_be_bytes),
            _ => {}
        }
        at += 9 + length;
    }
    unread.drain(..at);
}
