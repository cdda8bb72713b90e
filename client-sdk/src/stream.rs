//! Streams of messages from a server, typed.

use crate::{
    CallOptions, Code, Error, Mesh, Method, Slot, ladder,
    slot::Counts,
    wire::{WireCall, WireStream},
};
use cell_map::CellId;
use futures_util::{Stream, future::BoxFuture};
use std::{
    future::{IntoFuture, poll_fn},
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

/// A server's stream that has not been asked for yet: await it.
#[must_use = "a stream is opened when this is awaited"]
pub struct StreamCall<'a, M: Method> {
    mesh: &'a Mesh,
    slot: &'a Slot<M>,
    request: M::Request,
    options: CallOptions,
}

impl<M: Method> std::fmt::Debug for StreamCall<'_, M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamCall").field("method", &M::POLICY.path).field("options", &self.options).finish_non_exhaustive()
    }
}

impl<'a, M: Method> StreamCall<'a, M> {
    /// For generated clients.
    #[doc(hidden)]
    pub fn new(mesh: &'a Mesh, slot: &'a Slot<M>, request: M::Request) -> Self {
        Self { mesh, slot, request, options: CallOptions::default() }
    }

    /// Ends the stream so long after it is opened; never later than the method's longest deadline.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.options.deadline = Some(deadline);
        self
    }

    /// All options at once. Those of local answers, coalescing, batches and retries mean nothing to a stream.
    pub fn options(mut self, options: CallOptions) -> Self {
        self.options = options;
        self
    }

    async fn open(self) -> Result<Streaming<M::Response>, Error> {
        let Self { mesh, slot, request, options } = self;
        let slot = &*slot.0;
        Counts::add(&slot.counts.logical);
        let invalid = |error: cell_map::KeyError| Error::new(Code::InvalidArgument, error.to_string());
        let call = WireCall {
            policy: slot.policy,
            frame: ladder::frame(&request),
            key: M::key(&request).map_err(|error| invalid(error).in_method(M::POLICY.path))?.map(|key| key.to_user_key()),
            deadline: mesh.deadline(slot.policy, &options)?,
            fresh: options.fresh,
            metadata: options.metadata,
        };
        Counts::add(&slot.counts.wire);
        match mesh.wire().stream(call).await {
            Ok(stream) => Ok(Streaming::new(M::POLICY.path, stream)),
            Err(error) => {
                Counts::add(&slot.counts.failed);
                Err(error)
            }
        }
    }
}

impl<'a, M: Method> IntoFuture for StreamCall<'a, M> {
    type Output = Result<Streaming<M::Response>, Error>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.open())
    }
}

/// The messages of a server's stream. It ends after an error, and is cancelled when it is dropped.
#[must_use = "a stream gives messages when it is asked for them"]
pub struct Streaming<T> {
    method: &'static str,
    cell: Option<CellId>,
    state: State,
    message: PhantomData<fn() -> T>,
}

type Next = (Box<dyn WireStream>, Result<Option<bytes::Bytes>, Error>);

enum State {
    Idle(Box<dyn WireStream>),
    /// Kept when a caller gives up waiting, so that no message is lost.
    Reading(BoxFuture<'static, Next>),
    Ended,
}

impl<T> std::fmt::Debug for Streaming<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Streaming").field("method", &self.method).field("cell", &self.cell).finish_non_exhaustive()
    }
}

impl<T: prost::Message + Default> Streaming<T> {
    pub(crate) fn new(method: &'static str, stream: Box<dyn WireStream>) -> Self {
        Self { method, cell: stream.cell().cloned(), state: State::Idle(stream), message: PhantomData }
    }

    /// The cell that answers, if it said so.
    #[must_use]
    pub fn cell(&self) -> Option<&CellId> {
        self.cell.as_ref()
    }

    /// The next message; `None` at the end. Cancel-safe: given up, it loses no message.
    ///
    /// # Errors
    /// If the stream failed, or a message is none of the method's.
    pub async fn message(&mut self) -> Result<Option<T>, Error> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await.transpose()
    }
}

impl<T: prost::Message + Default> Stream for Streaming<T> {
    type Item = Result<T, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut reading = match std::mem::replace(&mut self.state, State::Ended) {
            State::Ended => return Poll::Ready(None),
            State::Reading(reading) => reading,
            State::Idle(mut stream) => Box::pin(async move {
                let next = stream.next().await;
                (stream, next)
            }),
        };
        let Poll::Ready((stream, next)) = reading.as_mut().poll(cx) else {
            self.state = State::Reading(reading);
            return Poll::Pending;
        };
        let Some(bytes) = next.transpose() else { return Poll::Ready(None) };
        let message = bytes.and_then(|bytes| {
            T::decode(bytes).map_err(|error| {
                Error::new(Code::Internal, format!("a message is no {}: {error}", std::any::type_name::<T>()))
            })
        });
        if message.is_ok() {
            self.state = State::Idle(stream);
        }
        Poll::Ready(Some(message.map_err(|error| error.in_method(self.method))))
    }
}
