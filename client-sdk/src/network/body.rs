//! A response's body as it comes in: over a connection, or from a service in this process.

use super::{link, pool::Trip};
use bytes::{Bytes, BytesMut};
use h2::RecvStream;
use http::HeaderMap;
use http_body::{Body as _, Frame};
use mesh_layers::frame::{Encoding, FrameError, HEADER_LEN, Header, first_message};
use mesh_routing::retry::Outcome;
use std::{
    borrow::Cow,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
};

/// A response's body.
pub(super) enum Incoming {
    /// Over a connection.
    Link {
        /// What comes.
        stream: RecvStream,
        /// Counts the call as in flight.
        trip: Trip,
    },
    /// From a service in this process.
    Inside(tonic::body::Body),
}

impl Incoming {
    /// The next piece; none at the end.
    ///
    /// # Errors
    /// If it breaks off.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Outcome>>> {
        match self {
            Self::Link { stream, trip } => {
                let broken = |error: &h2::Error, trip: &mut Trip| {
                    trip.failed();
                    Some(Err(link::outcome(error)))
                };
                match ready!(stream.poll_data(cx)) {
                    Some(Ok(data)) => {
                        // It fails only for more than came.
                        let _ = stream.flow_control().release_capacity(data.len());
                        return Poll::Ready(Some(Ok(Frame::data(data))));
                    }
                    Some(Err(error)) => return Poll::Ready(broken(&error, trip)),
                    None => {}
                }
                match ready!(stream.poll_trailers(cx)) {
                    Ok(trailers) => Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers)))),
                    Err(error) => Poll::Ready(broken(&error, trip)),
                }
            }
            Self::Inside(body) => {
                let frame = ready!(Pin::new(body).poll_frame(cx));
                Poll::Ready(frame.map(|frame| frame.map_err(|_| Outcome::Lost)))
            }
        }
    }

    /// Whether nothing more comes.
    pub fn is_end(&self) -> bool {
        match self {
            Self::Link { stream, .. } => stream.is_end_stream(),
            Self::Inside(body) => body.is_end_stream(),
        }
    }
}

/// The messages of a response, out of its body.
pub(super) struct Messages {
    body: Incoming,
    encoding: Encoding,
    limit: usize,
    /// What came and was not taken.
    rest: Bytes,
    trailers: Option<HeaderMap>,
    ended: bool,
}

/// Why no message can be read.
#[derive(Debug)]
pub(super) enum Broken {
    /// The body broke off.
    Off(Outcome),
    /// It holds no acceptable message.
    Frame(FrameError),
}

impl From<FrameError> for Broken {
    fn from(error: FrameError) -> Self {
        Self::Frame(error)
    }
}

impl Messages {
    pub fn new(body: Incoming, encoding: Encoding, limit: usize) -> Self {
        Self { body, encoding, limit, rest: Bytes::new(), trailers: None, ended: false }
    }

    /// The next message, decompressed; none at the end. Cancel-safe.
    ///
    /// # Errors
    /// If the body breaks off, also inside of a message, or a message is malformed or larger than the limit.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Broken> {
        loop {
            if let Some(message) = self.take()? {
                return Ok(Some(message));
            }
            if self.ended {
                return match self.rest.len() {
                    0 => Ok(None),
                    _ => Err(FrameError::Truncated { missing: self.missing()? }.into()),
                };
            }
            self.more().await?;
        }
    }

    /// Reads the next piece of the body. Cancel-safe.
    ///
    /// # Errors
    /// If it breaks off.
    pub async fn more(&mut self) -> Result<(), Broken> {
        match poll_fn(|cx| self.body.poll_frame(cx)).await {
            None => self.ended = true,
            Some(Err(outcome)) => return Err(Broken::Off(outcome)),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => self.put(data),
                Err(frame) => {
                    self.trailers = frame.into_trailers().ok();
                    self.ended = true;
                }
            },
        }
        Ok(())
    }

    /// Whether the body has been read to its end.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether a message has come in part.
    pub fn is_within_message(&self) -> bool {
        !self.rest.is_empty()
    }

    /// The trailers, once the messages have ended.
    pub fn into_trailers(self) -> Option<HeaderMap> {
        self.trailers
    }

    /// The trailers, once the messages have ended.
    pub fn trailers(&self) -> Option<&HeaderMap> {
        self.trailers.as_ref()
    }

    fn put(&mut self, data: Bytes) {
        if self.rest.is_empty() {
            self.rest = data;
            return;
        }
        // Room for the whole message at once: it may come in many pieces.
        let whole = Header::parse(&self.rest, self.limit).ok().flatten().map_or(0, Header::end);
        let rest = std::mem::take(&mut self.rest);
        let mut joined = rest.try_into_mut().unwrap_or_else(|rest| BytesMut::from(&rest[..]));
        joined.reserve(whole.saturating_sub(joined.len()).max(data.len()));
        joined.extend_from_slice(&data);
        self.rest = joined.freeze();
    }

    /// The next message, if it has come.
    ///
    /// # Errors
    /// If it is malformed or larger than the limit.
    pub fn take(&mut self) -> Result<Option<Bytes>, FrameError> {
        let (message, end) = match first_message(&self.rest, self.encoding, self.limit)? {
            None => return Ok(None),
            Some(first) => match first.message {
                Cow::Borrowed(_) => (None, first.end),
                Cow::Owned(message) => (Some(message.into()), first.end),
            },
        };
        let frame = self.rest.split_to(end);
        Ok(Some(message.unwrap_or_else(|| frame.slice(HEADER_LEN..))))
    }

    fn missing(&self) -> Result<usize, FrameError> {
        let promised = Header::parse(&self.rest, self.limit)?.map_or(HEADER_LEN, Header::end);
        Ok(promised.saturating_sub(self.rest.len()))
    }
}
