//! Passing a response's frames and trailers on as they come, no faster than the caller takes them.

use bytes::Bytes;
use h2::{RecvStream, SendStream};
use http::HeaderMap;
use mesh_layers::metadata;
use std::task::{Context, Poll, ready};
use tonic::Code;

/// A first frame this short is sent without asking for room.
const SHORT: usize = 16 * 1024;

/// Why a response was not passed on to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// The caller is gone.
    Caller,
    /// The sender broke off.
    Sender,
}

/// A response on its way.
pub(super) struct Pump<'s> {
    from: &'s mut RecvStream,
    to: &'s mut SendStream<Bytes>,
    data: Option<Bytes>,
    sent_any: bool,
    in_trailers: bool,
}

impl<'s> Pump<'s> {
    pub(super) fn new(from: &'s mut RecvStream, to: &'s mut SendStream<Bytes>) -> Self {
        Self { from, to, data: None, sent_any: false, in_trailers: false }
    }

    /// Moves what can be moved; at the end gives the status of the trailers.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Code, Cut>> {
        if let Poll::Ready(ended) = self.poll_move(cx) {
            return Poll::Ready(ended);
        }
        match self.to.poll_reset(cx) {
            Poll::Ready(_) => Poll::Ready(Err(Cut::Caller)),
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_move(&mut self, cx: &mut Context<'_>) -> Poll<Result<Code, Cut>> {
        loop {
            if self.in_trailers {
                let trailers = ready!(self.from.poll_trailers(cx)).map_err(|_| Cut::Sender)?;
                let code = trailers.as_ref().map_or(Code::Unknown, status);
                let sent = match trailers {
                    Some(trailers) => self.to.send_trailers(trailers),
                    None => self.to.send_data(Bytes::new(), true),
                };
                return Poll::Ready(sent.map(|()| code).map_err(|_| Cut::Caller));
            }
            if let Some(data) = self.data.take() {
                if !self.has_room(&data, cx)? {
                    self.data = Some(data);
                    return Poll::Pending;
                }
                let (length, last) = (data.len(), self.from.is_end_stream());
                self.to.send_data(data, last).map_err(|_| Cut::Caller)?;
                self.sent_any = true;
                if last {
                    return Poll::Ready(Ok(Code::Unknown));
                }
                // It fails only on a stream that has ended, whose window nobody needs.
                let _ = self.from.flow_control().release_capacity(length);
            }
            match ready!(self.from.poll_data(cx)) {
                Some(Ok(data)) if data.is_empty() => {}
                Some(Ok(data)) => self.data = Some(data),
                Some(Err(_)) => return Poll::Ready(Err(Cut::Sender)),
                None => self.in_trailers = true,
            }
        }
    }

    /// Whether the caller's window is open, so that at most one frame waits here.
    fn has_room(&mut self, data: &Bytes, cx: &mut Context<'_>) -> Result<bool, Cut> {
        if !self.sent_any && data.len() <= SHORT {
            return Ok(true);
        }
        self.to.reserve_capacity(data.len());
        loop {
            if self.to.capacity() > 0 {
                return Ok(true);
            }
            match self.to.poll_capacity(cx) {
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(_) => return Err(Cut::Caller),
                Poll::Pending => return Ok(false),
            }
        }
    }
}

/// The status code in trailers, or in the head of a trailers-only response.
pub(super) fn status(headers: &HeaderMap) -> Code {
    headers.get(metadata::GRPC_STATUS).map_or(Code::Unknown, |value| Code::from_bytes(value.as_bytes()))
}
