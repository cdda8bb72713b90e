//! One direction of one connection.

use bytes::{Buf as _, Bytes, BytesMut};
use std::collections::VecDeque;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, sleep_until};

/// Bytes under way in one direction of one connection. More would only matter above `CAPACITY / delay`
/// (280 MB/s at 15 ms); then the reader waits, as a sender does whose window is full.
pub(super) const CAPACITY: usize = 4 << 20;
/// Pieces under way: bounds the cost of a stream of tiny writes.
const MAX_PIECES: usize = 8192;
/// Bytes asked for in one read.
const READ: usize = 64 << 10;

/// The connection was reset at one end, and the other end has to hear of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reset;

enum Piece {
    Data(Bytes),
    End,
    Reset,
}

/// Copies `from` into `to`, each byte `delay` after it was read, but as if read at `not_before` at the earliest. An end of
/// `from` closes `to` for writing once all bytes before it are out; a reset travels the same way and is then returned.
pub(super) async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    delay: Duration,
    not_before: Instant,
) -> Result<(), Reset> {
    let mut queue: VecDeque<(Instant, Piece)> = VecDeque::new();
    let mut queued = 0;
    let mut ended = false;
    let mut buffer = BytesMut::new();
    loop {
        let now = Instant::now();
        let next = queue.front().map(|(due, _)| *due);
        let is_due = next.is_some_and(|due| due <= now);
        if is_due {
            match queue.front() {
                Some((_, Piece::End)) => return to.shutdown().await.map_err(|_| Reset),
                Some((_, Piece::Reset)) => return Err(Reset),
                _ => {}
            }
        }
        let room = !ended && queued < CAPACITY && queue.len() < MAX_PIECES;
        if room && buffer.capacity() < READ / 4 {
            buffer.reserve(READ);
        }
        tokio::select! {
            read = from.read_buf(&mut buffer), if room => {
                let piece = match read {
                    Ok(0) => Piece::End,
                    Ok(length) => {
                        queued += length;
                        Piece::Data(buffer.split().freeze())
                    }
                    Err(_) => Piece::Reset,
                };
                ended = !matches!(piece, Piece::Data(_));
                queue.push_back((Instant::now().max(not_before) + delay, piece));
            }
            wrote = write_front(&mut queue, &mut to), if is_due => queued -= wrote?,
            () = sleep_until(next.unwrap_or(now)), if next.is_some() && !is_due => {}
        }
    }
}

/// Writes what the socket takes of the first piece. Cancel safe: a piece shrinks only by what was written.
async fn write_front(
    queue: &mut VecDeque<(Instant, Piece)>,
    to: &mut (impl AsyncWrite + Unpin),
) -> Result<usize, Reset> {
    let Some((_, Piece::Data(bytes))) = queue.front_mut() else { return Ok(0) };
    let wrote = to.write(bytes).await.map_err(|_| Reset)?;
    if wrote == 0 {
        return Err(Reset);
    }
    bytes.advance(wrote);
    if bytes.is_empty() {
        queue.pop_front();
    }
    Ok(wrote)
}
