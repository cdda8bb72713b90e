//! Reading the one message of a unary call from a body.

use super::{Encoding, FrameError, HEADER_LEN, Header, encode, only_message};
use crate::{
    budget::{self, ByteBudget},
    error::{MeshError, Reason},
};
use bytes::{Buf, Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt;
use std::time::Duration;

/// A unary message in memory, and the bytes of the budget that it holds until dropped.
#[derive(Debug)]
pub struct Collected {
    /// The message in an uncompressed frame; as it came, where it came uncompressed.
    pub frame: Bytes,
    /// Give it back when the message is done with.
    pub held: budget::Bytes,
}

impl Collected {
    /// The message, decompressed.
    #[must_use]
    pub fn message(&self) -> Bytes {
        self.frame.slice(HEADER_LEN..)
    }
}

/// Reads a whole unary body: at most `limit` bytes of message before and after decompression, paid from the budget
/// before they are kept. Cancel-safe in that dropping it gives everything back.
///
/// # Errors
/// Those of [`FrameError`]; RATE_LIMITED when the budget is spent; CANCELLED when the caller went away.
pub async fn collect<B>(body: B, encoding: Encoding, limit: usize, budget: &ByteBudget) -> Result<Collected, MeshError>
where
    B: Body<Data = Bytes>,
{
    let mut body = std::pin::pin!(body);
    let mut held = budget::Bytes::default();
    let mut parts = Parts::default();
    while let Some(frame) = body.frame().await {
        let gone = || MeshError::new(Reason::Cancelled, "the caller ended the body early");
        let Ok(data) = frame.map_err(|_| gone())?.into_data() else { continue };
        if data.is_empty() {
            continue;
        }
        held.merge(pay(budget, data.len())?);
        parts.push(data);
        check_early(&parts, limit)?;
    }
    let parts_len = parts.len;
    let body = parts.into_bytes();
    let message = only_message(&body, encoding, limit)?;
    // Read by `only_message` already, so there is a first byte.
    let frame = if body.first() == Some(&0) { body } else { encode(&message) };
    if frame.len() > parts_len {
        held.merge(pay(budget, frame.len() - parts_len)?);
    }
    Ok(Collected { frame, held })
}

fn pay(budget: &ByteBudget, bytes: usize) -> Result<budget::Bytes, MeshError> {
    budget
        .take(bytes)
        .ok_or_else(|| MeshError::rate_limited("too many bytes of requests are held", Duration::from_millis(100)))
}

/// Refuses as soon as the header says so, and as soon as anything follows the first message.
fn check_early(parts: &Parts, limit: usize) -> Result<(), FrameError> {
    match Header::parse(parts.head(), limit)? {
        Some(header) if parts.len > header.end() => Err(FrameError::TooManyMessages),
        _ => Ok(()),
    }
}

/// What has been read: most bodies are one piece, which is kept without copying.
#[derive(Default)]
struct Parts {
    first: Bytes,
    rest: Option<BytesMut>,
    len: usize,
}

impl Parts {
    fn push(&mut self, data: Bytes) {
        self.len += data.remaining();
        match &mut self.rest {
            Some(rest) => rest.extend_from_slice(&data),
            None if self.first.is_empty() => self.first = data,
            None => {
                let mut rest = BytesMut::with_capacity(self.len);
                rest.extend_from_slice(&self.first);
                rest.extend_from_slice(&data);
                self.rest = Some(rest);
            }
        }
    }

    fn head(&self) -> &[u8] {
        self.rest.as_ref().map_or(&self.first, |rest| rest)
    }

    fn into_bytes(self) -> Bytes {
        self.rest.map_or(self.first, BytesMut::freeze)
    }
}
