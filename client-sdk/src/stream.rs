//! Streams that a server sends.

use crate::{
    Call, CallOptions, Code, Criticality, Error, Mesh, Method, MethodPolicy, Slot, fanout,
    ladder::{self, frame},
    method::prepare,
    stats::Counts,
    wire::{Wants, WireCall, WireStream},
};
use bytes::Bytes;
use cell_map::CellId;
use futures_util::{Stream, future::BoxFuture};
use mesh_layers::{CallContext, propagate::MARGIN};
use prost::Message;
use std::{
    fmt,
    future::{IntoFuture, poll_fn},
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

/// How long a stream may be open that neither caller nor policy ends: for ever, but in a number that fits.
pub(crate) const NO_DEADLINE: Duration = Duration::from_secs(365 * 24 * 3600);

/// A stream that has not been opened yet: await it.
#[must_use = "a stream is opened when it is awaited"]
pub struct StreamCall<'a, M: Method>(Call<'a, M>);

impl<M: Method> fmt::Debug for StreamCall<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StreamCall").field(&self.0).finish()
    }
}

impl<'a, M: Method> StreamCall<'a, M> {
    /// For generated clients.
    #[doc(hidden)]
    pub fn new(mesh: &'a Mesh, slot: &'a Slot<M>, request: M::Request) -> Self {
        Self(Call::new(mesh, slot, request))
    }

    /// Ends the stream so long after it is opened. Without one, and without a default in the policy, nothing but the
    /// service ends it, or a [`within`](crate::within) that it is opened in.
    pub fn deadline(self, deadline: Duration) -> Self {
        Self(self.0.deadline(deadline))
    }

    /// On whose behalf the stream is opened.
    pub fn principal(self, principal: impl Into<Arc<str>>) -> Self {
        Self(self.0.principal(principal))
    }

    /// The user that the stream is about, where the message does not name him.
    ///
    /// # Errors
    /// If it is empty, `0` or longer than a key may be.
    pub fn user_key(self, key: impl AsRef<[u8]>) -> Result<Self, Error> {
        self.0.user_key(key).map(Self)
    }

    /// Core or not, instead of the policy's.
    pub fn priority(self, priority: Criticality) -> Self {
        Self(self.0.priority(priority))
    }

    /// Metadata of its own.
    ///
    /// # Errors
    /// If name or value are no metadata, or the name is the mesh's or gRPC's own.
    pub fn metadata(self, name: &str, value: &str) -> Result<Self, Error> {
        self.0.metadata(name, value).map(Self)
    }
}

impl<'a, M: Method> IntoFuture for StreamCall<'a, M> {
    type Output = Result<Streaming<M::Response>, Error>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(open(self.0))
    }
}

async fn open<M: Method>(call: Call<'_, M>) -> Result<Streaming<M::Response>, Error> {
    let Call { mesh, slot, mut request, options } = call;
    let (policy, counts) = (slot.0.policy, &slot.0.counts);
    Counts::add(&counts.logical);
    ladder::note(policy);
    let (key, key_in_metadata) = prepare::<M>(&mut request, &options)?;
    let deadline = deadline(policy, &options)?;
    let frame = frame(&request)?;
    let priority = options.priority.unwrap_or(policy.criticality);
    let wants = Wants { key_in_metadata, no_retry: options.no_retry, ..Wants::ranked(policy, priority) };
    let wire = WireCall { policy, frame, key, deadline, fresh: options.fresh, metadata: options.metadata, wants };
    Counts::add(&counts.wire);
    let stream = mesh.wire().stream(wire).await.inspect_err(|_| {
        Counts::add(&counts.failed);
    })?;
    Ok(Streaming {
        method: policy.path,
        cell: stream.cell().cloned(),
        state: State::Idle(stream),
        message: PhantomData,
    })
}

fn deadline(policy: &MethodPolicy, options: &CallOptions) -> Result<Instant, Error> {
    let now = Instant::now();
    let asked = options.deadline.or(policy.default_deadline).unwrap_or(NO_DEADLINE);
    let own = now + asked.min(policy.max_deadline.unwrap_or(NO_DEADLINE));
    let served = CallContext::with_current(|call| call.deadline() - MARGIN);
    let deadline = [served, fanout::scoped()].into_iter().flatten().fold(own, Instant::min);
    if deadline <= now { Err(Error::deadline_exceeded().in_method(policy.path)) } else { Ok(deadline) }
}

/// The messages of a server's stream. Dropping it cancels the stream.
pub struct Streaming<T> {
    method: &'static str,
    cell: Option<CellId>,
    state: State,
    message: PhantomData<fn() -> T>,
}

/// The stream is on loan while its next message is waited for, so that whoever gives up waiting loses no message.
enum State {
    Idle(Box<dyn WireStream>),
    Waiting(BoxFuture<'static, Waited>),
    Ended,
}

/// The stream again, and what came.
type Waited = (Box<dyn WireStream>, Result<Option<Bytes>, Error>);

impl<T> fmt::Debug for Streaming<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streaming").field("method", &self.method).field("cell", &self.cell).finish_non_exhaustive()
    }
}

impl<T: Message + Default> Streaming<T> {
    /// The next message; `None` at the stream's end. Cancel-safe.
    ///
    /// # Errors
    /// What ended the stream, or that a message is none; nothing comes after it.
    pub async fn message(&mut self) -> Result<Option<T>, Error> {
        poll_fn(|cx| self.poll_message(cx)).await.transpose()
    }

    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<T, Error>>> {
        loop {
            match std::mem::replace(&mut self.state, State::Ended) {
                State::Ended => return Poll::Ready(None),
                State::Idle(mut stream) => {
                    self.state = State::Waiting(Box::pin(async move {
                        let next = stream.next().await;
                        (stream, next)
                    }));
                }
                State::Waiting(mut waiting) => {
                    let Poll::Ready((stream, next)) = waiting.as_mut().poll(cx) else {
                        self.state = State::Waiting(waiting);
                        return Poll::Pending;
                    };
                    let message = next.transpose().map(|next| self.decode(&next?));
                    if matches!(message, Some(Ok(_))) {
                        self.state = State::Idle(stream);
                    }
                    return Poll::Ready(message);
                }
            }
        }
    }

    fn decode(&self, message: &[u8]) -> Result<T, Error> {
        T::decode(message).map_err(|error| {
            let why = format!("a message is no {}: {error}", std::any::type_name::<T>());
            Error::new(Code::Internal, why).in_method(self.method)
        })
    }
}

impl<T> Streaming<T> {
    /// The cell that answers, if it said so.
    #[must_use]
    pub fn cell(&self) -> Option<&CellId> {
        self.cell.as_ref()
    }
}

impl<T: Message + Default> Stream for Streaming<T> {
    type Item = Result<T, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_message(cx)
    }
}
