//! The length-prefixed message of gRPC over HTTP/2: one byte of flags, four of length, the message.
//!
//! Shared by the router, which looks for the user key in the first message, and by the services, which take the one
//! message of a unary call before any handler runs. Limits count bytes after decompression.

mod collect;

pub use collect::{Collected, collect};

use crate::{
    error::{MeshError, Reason},
    metadata::GRPC_ENCODING,
};
use bytes::{BufMut, Bytes, BytesMut};
use flate2::read::{GzDecoder, ZlibDecoder};
use http::HeaderMap;
use std::{borrow::Cow, io::Read};
use tonic::Code;

/// Bytes before each message.
pub const HEADER_LEN: usize = 5;
/// What [`Encoding::of`] accepts, for `grpc-accept-encoding`.
pub const ACCEPTED: &str = "identity,gzip,deflate";

/// Why a body holds no acceptable message. The codes are those of gRPC's `statuscodes.md` and conformance suite.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A unary call without a message. UNIMPLEMENTED.
    #[error("the call has no message, exactly one is expected")]
    NoMessage,
    /// A unary call with several messages. UNIMPLEMENTED.
    #[error("the call has more than one message, exactly one is expected")]
    TooManyMessages,
    /// The body ends inside a frame. INTERNAL.
    #[error("the body ends {missing} bytes before the end of the message")]
    Truncated {
        /// Bytes that the frame promised beyond those that came.
        missing: usize,
    },
    /// The message is larger than allowed, before or after decompression. RESOURCE_EXHAUSTED.
    #[error("message is larger than {limit} bytes")]
    TooLarge {
        /// Most bytes allowed.
        limit: usize,
    },
    /// A flag byte other than 0 and 1. INTERNAL.
    #[error("message flag {0} is neither 0 nor 1")]
    BadFlag(u8),
    /// Compressed, but `grpc-encoding` names no compression. INTERNAL.
    #[error("message is compressed, but grpc-encoding names no compression")]
    CompressedWithoutEncoding,
    /// A compression that we do not know. UNIMPLEMENTED.
    #[error("grpc-encoding \"{0}\" is not supported, allowed are {ACCEPTED}")]
    UnsupportedEncoding(String),
    /// The compressed bytes are damaged. INTERNAL.
    #[error("message does not decompress")]
    Corrupt,
}

impl From<FrameError> for MeshError {
    fn from(error: FrameError) -> Self {
        let code = match error {
            FrameError::TooLarge { limit } => return Self::message_too_large(limit),
            FrameError::NoMessage | FrameError::TooManyMessages | FrameError::UnsupportedEncoding(_) => {
                Code::Unimplemented
            }
            FrameError::Truncated { .. }
            | FrameError::BadFlag(_)
            | FrameError::CompressedWithoutEncoding
            | FrameError::Corrupt => Code::Internal,
        };
        let refused = Self::new(Reason::BadRequest, error.to_string()).with_code(code);
        match error {
            FrameError::UnsupportedEncoding(_) => refused.accept_encoding(ACCEPTED),
            _ => refused,
        }
    }
}

/// Compression of a body's messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// None.
    Identity,
    /// RFC 1952.
    Gzip,
    /// RFC 1950 (gRPC calls zlib so).
    Deflate,
}

impl Encoding {
    /// From `grpc-encoding`; absent is identity.
    ///
    /// # Errors
    /// If we do not know it.
    pub fn of(headers: &HeaderMap) -> Result<Self, FrameError> {
        match headers.get(GRPC_ENCODING).map(|value| value.as_bytes()) {
            None | Some(b"identity") => Ok(Self::Identity),
            Some(b"gzip") => Ok(Self::Gzip),
            Some(b"deflate") => Ok(Self::Deflate),
            Some(other) => {
                Err(FrameError::UnsupportedEncoding(String::from_utf8_lossy(other).chars().take(40).collect()))
            }
        }
    }

    /// Decompresses at most `limit` bytes, never more: a bomb costs `limit` bytes of memory.
    ///
    /// # Errors
    /// If the message is larger, damaged, or not compressed at all.
    pub fn inflate(self, message: &[u8], limit: usize) -> Result<Vec<u8>, FrameError> {
        let most = limit as u64 + 1;
        let mut out = Vec::with_capacity(message.len().saturating_mul(2).min(limit));
        let read = match self {
            Self::Identity => return Err(FrameError::CompressedWithoutEncoding),
            Self::Gzip => GzDecoder::new(message).take(most).read_to_end(&mut out),
            Self::Deflate => ZlibDecoder::new(message).take(most).read_to_end(&mut out),
        };
        match read {
            Ok(_) if out.len() > limit => Err(FrameError::TooLarge { limit }),
            Ok(_) => Ok(out),
            Err(_) => Err(FrameError::Corrupt),
        }
    }
}

/// The five bytes before a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Whether the message is compressed.
    pub compressed: bool,
    /// Bytes of the message on the wire.
    pub len: usize,
}

impl Header {
    /// Of the bytes so far; `None` until there are five.
    ///
    /// # Errors
    /// On a flag other than 0 and 1, or a length above `limit`: known before the message itself arrives.
    pub fn parse(bytes: &[u8], limit: usize) -> Result<Option<Self>, FrameError> {
        let compressed = match bytes.first() {
            None => return Ok(None),
            Some(0) => false,
            Some(1) => true,
            Some(flag) => return Err(FrameError::BadFlag(*flag)),
        };
        let Some([_, length @ ..]) = bytes.first_chunk::<HEADER_LEN>() else { return Ok(None) };
        let len = u32::from_be_bytes(*length) as usize;
        if len > limit { Err(FrameError::TooLarge { limit }) } else { Ok(Some(Self { compressed, len })) }
    }

    /// Bytes of header and message.
    #[must_use]
    pub fn end(self) -> usize {
        HEADER_LEN + self.len
    }
}

/// The first message of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct First<'a> {
    /// The message, decompressed.
    pub message: Cow<'a, [u8]>,
    /// Bytes of the body that it took.
    pub end: usize,
}

/// The first message in the bytes so far; `None` until it is complete.
///
/// # Errors
/// As soon as the bytes cannot become an acceptable message.
pub fn first_message(bytes: &[u8], encoding: Encoding, limit: usize) -> Result<Option<First<'_>>, FrameError> {
    let Some(header) = Header::parse(bytes, limit)? else { return Ok(None) };
    if header.compressed && encoding == Encoding::Identity {
        return Err(FrameError::CompressedWithoutEncoding);
    }
    let Some(message) = bytes.get(HEADER_LEN..header.end()) else { return Ok(None) };
    let message = match header.compressed {
        true => Cow::Owned(encoding.inflate(message, limit)?),
        false => Cow::Borrowed(message),
    };
    Ok(Some(First { message, end: header.end() }))
}

/// The one message of a complete unary body, decompressed.
///
/// # Errors
/// If there is not exactly one acceptable message.
pub fn only_message(body: &Bytes, encoding: Encoding, limit: usize) -> Result<Bytes, FrameError> {
    if body.is_empty() {
        return Err(FrameError::NoMessage);
    }
    match first_message(body, encoding, limit)? {
        None => {
            let promised = Header::parse(body, limit)?.map_or(HEADER_LEN, Header::end);
            Err(FrameError::Truncated { missing: promised.saturating_sub(body.len()) })
        }
        Some(first) if first.end < body.len() => Err(FrameError::TooManyMessages),
        Some(First { message: Cow::Borrowed(_), .. }) => Ok(body.slice(HEADER_LEN..)),
        Some(First { message: Cow::Owned(message), .. }) => Ok(message.into()),
    }
}

/// The header of an uncompressed message of so many bytes.
///
/// # Panics
/// If it has 4 GiB or more; every limit is far below.
#[must_use]
pub fn header(message_len: usize) -> [u8; HEADER_LEN] {
    let len = u32::try_from(message_len).expect("messages are limited far below 4 GiB");
    let [a, b, c, d] = len.to_be_bytes();
    [0, a, b, c, d]
}

/// An uncompressed frame around a message.
///
/// # Panics
/// As [`header`].
#[must_use]
pub fn encode(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(HEADER_LEN + message.len());
    frame.put_slice(&header(message.len()));
    frame.put_slice(message);
    frame.freeze()
}

#[cfg(test)]
mod tests;
