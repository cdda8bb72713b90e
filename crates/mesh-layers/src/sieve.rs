//! Takes empty DATA frames out of what a server sends, before h2 counts them.
//!
//! An empty DATA frame that does not end its stream says nothing, but h2 0.4.20 ends a connection at the 101st of its whole
//! life, and with it the calls of everybody who shares it; some services send one per response. What h2 guards against, a
//! peer that sends them without end, stays guarded: a few per response are taken out, further ones are passed on.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

const HEADER: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
/// Empty frames taken out for each HEADERS frame seen.
const PER_RESPONSE: u32 = 8;
/// Most that may add up.
const MOST: u32 = 1_000;
/// A read into less room goes through a queue, so that a header fits.
const LITTLE_ROOM: usize = 2 * HEADER;

/// A server's byte stream without its empty DATA frames.
#[derive(Debug)]
pub struct Sieve<S> {
    inner: S,
    sifter: Sifter,
    /// Sifted bytes that found no room.
    queue: Vec<u8>,
}

/// Follows frame boundaries through bytes that come in any pieces.
#[derive(Debug, Default)]
struct Sifter {
    /// Bytes of the present frame's payload still to come.
    payload: usize,
    /// The beginning of a frame header whose rest has not come.
    held: [u8; HEADER],
    held_len: usize,
    allowance: u32,
}

impl Sifter {
    fn held(&self) -> &[u8] {
        &self.held[..self.held_len]
    }

    /// Sifts bytes in place, which begin with what was held; gives the length of what is left.
    fn sift(&mut self, bytes: &mut [u8]) -> usize {
        self.held_len = 0;
        let (mut from, mut to) = (0, 0);
        while from < bytes.len() {
            let left = bytes.len() - from;
            let take = if self.payload > 0 {
                let take = self.payload.min(left);
                self.payload -= take;
                take
            } else if left < HEADER {
                self.held[..left].copy_from_slice(&bytes[from..]);
                self.held_len = left;
                break;
            } else if self.is_empty_data(&bytes[from..from + HEADER]) {
                from += HEADER;
                continue;
            } else {
                HEADER
            };
            if from != to {
                bytes.copy_within(from..from + take, to);
            }
            from += take;
            to += take;
        }
        to
    }

    /// Whether the frame of this header is to be taken out; otherwise its payload follows.
    fn is_empty_data(&mut self, header: &[u8]) -> bool {
        let (kind, flags) = (header[3], header[4]);
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize;
        if kind == DATA && flags == 0 && length == 0 && self.allowance > 0 {
            self.allowance -= 1;
            return true;
        }
        if kind == HEADERS {
            self.allowance = (self.allowance + PER_RESPONSE).min(MOST);
        }
        self.payload = length;
        false
    }
}

impl<S> Sieve<S> {
    /// Sifts what is read from `inner`.
    pub fn new(inner: S) -> Self {
        Self { inner, sifter: Sifter::default(), queue: Vec::new() }
    }
}

impl<S: AsyncRead + Unpin> Sieve<S> {
    /// Reads once and sifts. True at the end of the stream.
    fn poll_sifted(
        inner: &mut S,
        sifter: &mut Sifter,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<bool>> {
        let start = buf.filled().len();
        buf.put_slice(sifter.held());
        let before = buf.filled().len();
        let read = Pin::new(inner).poll_read(cx, buf);
        if !matches!(read, Poll::Ready(Ok(()))) {
            buf.set_filled(start);
        }
        ready!(read)?;
        if buf.filled().len() == before {
            // The stream ends, perhaps within a header: h2 shall see that.
            sifter.held_len = 0;
            return Poll::Ready(Ok(true));
        }
        let left = sifter.sift(&mut buf.filled_mut()[start..]);
        buf.set_filled(start + left);
        Poll::Ready(Ok(false))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Sieve<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let start = buf.filled().len();
        loop {
            if !this.queue.is_empty() {
                let take = this.queue.len().min(buf.remaining());
                buf.put_slice(&this.queue[..take]);
                this.queue.drain(..take);
                return Poll::Ready(Ok(()));
            }
            let ended = if buf.remaining() >= LITTLE_ROOM {
                ready!(Self::poll_sifted(&mut this.inner, &mut this.sifter, cx, buf))?
            } else {
                let mut room = [0; 4 * LITTLE_ROOM];
                let mut room = ReadBuf::new(&mut room);
                let ended = ready!(Self::poll_sifted(&mut this.inner, &mut this.sifter, cx, &mut room))?;
                this.queue.extend_from_slice(room.filled());
                ended && this.queue.is_empty()
            };
            // Nothing read would mean the end, so go on if all was taken out.
            if ended || buf.filled().len() > start {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Sieve<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt as _;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = (payload.len() as u32).to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    /// A stream that gives its bytes in pieces of these lengths, over and over.
    struct Pieces<'a> {
        bytes: &'a [u8],
        lengths: Vec<usize>,
        turn: usize,
    }

    impl AsyncRead for Pieces<'_> {
        fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            let turn = self.turn;
            self.turn += 1;
            let take = self.lengths[turn % self.lengths.len()].min(self.bytes.len()).min(buf.remaining());
            let (now, later) = self.bytes.split_at(take);
            buf.put_slice(now);
            self.bytes = later;
            Poll::Ready(Ok(()))
        }
    }

    async fn sifted(bytes: &[u8], lengths: Vec<usize>, room: usize) -> Vec<u8> {
        let mut sieve = Sieve::new(Pieces { bytes, lengths, turn: 0 });
        let mut out = Vec::new();
        let mut buffer = vec![0; room];
        loop {
            match sieve.read(&mut buffer).await.expect("the pieces do not fail") {
                0 => return out,
                n => out.extend_from_slice(&buffer[..n]),
            }
        }
    }

    #[tokio::test]
    async fn empty_data_frames_are_taken_out_however_the_bytes_are_cut() {
        let (empty, last) = (frame(DATA, 0, &[]), frame(DATA, 1, &[]));
        let parts: [&[u8]; 9] = [
            &frame(4, 0, &[]),
            &frame(HEADERS, 4, b"head"),
            &empty,
            &frame(DATA, 0, &[0; 100]),
            &empty,
            &empty,
            &frame(DATA, 0, b"\0\0\0\0\0\0\0\0\0"),
            &last,
            b"\0\0",
        ];
        let all = parts.concat();
        let wanted = [parts[0], parts[1], parts[3], parts[6], parts[7], parts[8]].concat();
        for lengths in [vec![1], vec![2, 3], vec![8, 1, 10], vec![9], vec![17, 5], vec![1000]] {
            for room in [1, 3, 17, 18, 40, 4096] {
                assert_eq!(sifted(&all, lengths.clone(), room).await, wanted, "pieces of {lengths:?}, room for {room}");
            }
        }
    }

    #[tokio::test]
    async fn a_flood_of_empty_frames_reaches_h2() {
        let flood: Vec<u8> = (0..500).flat_map(|_| frame(DATA, 0, &[])).collect();
        let all = [frame(HEADERS, 4, b"head"), flood].concat();
        let left = sifted(&all, vec![64], 4096).await;
        assert_eq!((left.len() - HEADER - 4) / HEADER, 500 - PER_RESPONSE as usize);
    }
}
