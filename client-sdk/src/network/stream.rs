//! The messages of a server's stream.

use super::{
    answer::{self, Answer},
    attempt::{Landed, Progress, Rest, frame_error},
    body::{Broken, Messages},
};
use crate::{Code, Error, wire::WireStream};
use bytes::Bytes;
use cell_map::CellId;
use futures_util::future::BoxFuture;
use http::{HeaderMap, StatusCode};
use mesh_routing::retry::Ending;
use std::time::Instant;

/// A stream whose first message, or end, has come.
pub(super) struct Opened {
    head: HeaderMap,
    first: Option<Bytes>,
    messages: Messages,
    progress: Progress,
    cell: Option<CellId>,
    method: &'static str,
    deadline: Instant,
    ended: bool,
}

impl Opened {
    /// # Errors
    /// The one that the response says.
    pub fn new(landed: Landed, progress: Progress, method: &'static str, deadline: Instant) -> Result<Self, Error> {
        let answer = landed.answer();
        let failed = answer.http != StatusCode::OK || answer.code().is_some_and(|code| code != 0);
        if failed {
            return Err(progress.failed(&answer));
        }
        let cell = progress.tally.as_ref().and_then(|tally| answer.cell(tally));
        match landed.rest {
            Rest::Stream(first, messages) => {
                Ok(Self { head: landed.head, first, messages, progress, cell, method, deadline, ended: false })
            }
            _ => Err(progress.note(Error::new(Code::Internal, "the response ends where a stream was to begin"))),
        }
    }

    async fn next_message(&mut self) -> Result<Option<Bytes>, Error> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        if self.ended {
            return Ok(None);
        }
        let next = match tokio::time::timeout_at(self.deadline.into(), self.messages.next()).await {
            Ok(Ok(Some(message))) => return Ok(Some(message)),
            Ok(Ok(None)) => self.status(),
            Ok(Err(Broken::Off(_))) => Err(self.broken_off()),
            Ok(Err(Broken::Frame(error))) => Err(self.progress.note(frame_error(&error))),
            Err(_) => Err(self.progress.note(Error::deadline_exceeded())),
        };
        self.ended = true;
        next.map(|()| None)
    }

    /// What the trailers say.
    fn status(&self) -> Result<(), Error> {
        let answer = Answer { http: StatusCode::OK, head: &self.head, trailers: self.messages.trailers() };
        if answer.is_ok() { Ok(()) } else { Err(self.progress.failed(&answer)) }
    }

    fn broken_off(&self) -> Error {
        let ended = self.progress.tally.as_ref().map(|tally| answer::ended(Ending::Lost, tally));
        self.progress.note(ended.unwrap_or_else(|| Error::new(Code::Unavailable, "the stream broke off")))
    }
}

impl WireStream for Opened {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, Error>> {
        Box::pin(async move {
            let method = self.method;
            self.next_message().await.map_err(|error| error.in_method(method))
        })
    }

    fn cell(&self) -> Option<&CellId> {
        self.cell.as_ref()
    }
}
