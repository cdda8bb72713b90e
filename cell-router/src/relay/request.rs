//! Reading the one message of a request from its stream.

use bytes::{Bytes, BytesMut};
use h2::RecvStream;
use mesh_layers::{
    MeshError, Reason,
    budget::{self, ByteBudget},
    frame::{Encoding, FrameError, HEADER_LEN, Header},
};
use std::time::Duration;

/// A body in one piece at most this long costs no budget: the stream's window bounds it.
const FREE: usize = 16 * 1024;

/// The one message of a request, as it came.
#[derive(Debug)]
pub(super) struct Body {
    /// Prefix and message.
    pub(super) bytes: Bytes,
    compressed: bool,
    /// What it holds of the budget.
    held: budget::Bytes,
}

impl Body {
    /// The message, decompressed for the router's eyes only.
    pub(super) fn message(
        &mut self,
        encoding: Encoding,
        limit: usize,
        budget: &ByteBudget,
    ) -> Result<Bytes, MeshError> {
        let message = self.bytes.slice(HEADER_LEN..);
        if !self.compressed {
            return Ok(message);
        }
        let inflated = encoding.inflate(&message, limit)?;
        self.held.merge(pay(budget, inflated.len())?);
        Ok(inflated.into())
    }
}

/// Reads a request's body: exactly one message of at most `limit` bytes.
///
/// # Errors
/// Those of [`FrameError`]; RATE_LIMITED without budget; CANCELLED if the caller breaks off.
pub(super) async fn read(body: &mut RecvStream, limit: usize, budget: &ByteBudget) -> Result<Body, MeshError> {
    let mut bytes = Bytes::new();
    let mut more = None;
    let mut held = budget::Bytes::default();
    while let Some(data) = body.data().await {
        let data = data.map_err(|_| MeshError::new(Reason::Cancelled, "the caller ended the body early"))?;
        let last = body.is_end_stream();
        if !data.is_empty() {
            if bytes.is_empty() && more.is_none() && data.len() <= FREE {
                bytes = data.clone();
            } else {
                if more.is_none() {
                    held.merge(pay(budget, bytes.len())?);
                }
                held.merge(pay(budget, data.len())?);
                more.get_or_insert_with(|| BytesMut::from(&bytes[..])).extend_from_slice(&data);
            }
            let so_far = more.as_deref().unwrap_or(&bytes);
            if Header::parse(so_far, limit)?.is_some_and(|header| so_far.len() > header.end()) {
                return Err(FrameError::TooManyMessages.into());
            }
        }
        if last {
            break;
        }
        // The stream's end is not in sight, so the caller needs its window back.
        let _ = body.flow_control().release_capacity(data.len());
    }
    let bytes = more.map_or(bytes, BytesMut::freeze);
    match Header::parse(&bytes, limit)? {
        Some(header) if header.end() == bytes.len() => Ok(Body { bytes, compressed: header.compressed, held }),
        _ if bytes.is_empty() => Err(FrameError::NoMessage.into()),
        header => {
            let missing = header.map_or(HEADER_LEN, Header::end) - bytes.len();
            Err(FrameError::Truncated { missing }.into())
        }
    }
}

/// Takes bytes of a budget.
///
/// # Errors
/// RATE_LIMITED if it does not have them.
pub(super) fn pay(budget: &ByteBudget, bytes: usize) -> Result<budget::Bytes, MeshError> {
    let spent = || MeshError::rate_limited("too many bytes of calls are held", Duration::from_millis(100));
    budget.take(bytes).ok_or_else(spent)
}
