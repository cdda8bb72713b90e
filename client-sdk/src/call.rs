//! One call, as its caller writes it.

use crate::{Criticality, Error, Fresh, Mesh, Method, Reply, Slot, ladder};
use cell_map::UserKey;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue};
use std::{
    future::{Future, IntoFuture},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

/// What one call wants other than its policy says. Every rung of the ladder can be left out.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct CallOptions {
    /// Time from now to its end; `None`: the policy's default, and that of the call being served, if it is shorter.
    pub deadline: Option<Duration>,
    /// How fresh the answer must be.
    pub fresh: Fresh,
    /// On whose behalf it is made: calls of different principals are never coalesced, batched or answered from each
    /// other's data.
    pub principal: Option<Arc<str>>,
    /// The user that it is about, where the message does not name him.
    pub user_key: Option<UserKey>,
    /// Core or not, instead of the policy's. Calls of different priority share nothing. Routers shed a call that is made
    /// less urgent than its policy says like any that is not core; nobody's is more urgent than its policy says to them.
    pub priority: Option<Criticality>,
    /// Metadata of its own; a call with metadata is neither coalesced nor batched.
    pub metadata: Option<Arc<HeaderMap>>,
    /// Not answered by local logic.
    pub no_local: bool,
    /// Not coalesced with equal calls.
    pub no_coalescing: bool,
    /// Not put into a batch.
    pub no_batch: bool,
    /// Not sent again once it may have been processed.
    pub no_retry: bool,
    /// Others like it are about to be made: a batch lets the runtime run once before it is sent.
    pub(crate) gather: bool,
}

/// A call that has not been made yet: await it.
///
/// ```ignore
/// let reply = follow.is_following(request).deadline(Duration::from_millis(30)).await?;
/// ```
#[must_use = "a call is made when it is awaited"]
pub struct Call<'a, M: Method> {
    pub(crate) mesh: &'a Mesh,
    pub(crate) slot: &'a Slot<M>,
    pub(crate) request: M::Request,
    pub(crate) options: CallOptions,
}

impl<M: Method> std::fmt::Debug for Call<'_, M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call").field("method", &M::POLICY.path).field("options", &self.options).finish_non_exhaustive()
    }
}

impl<'a, M: Method> Call<'a, M> {
    /// For generated clients.
    #[doc(hidden)]
    pub fn new(mesh: &'a Mesh, slot: &'a Slot<M>, request: M::Request) -> Self {
        Self { mesh, slot, request, options: CallOptions::default() }
    }

    /// Ends the call so long after it is made; never later than the method's longest deadline.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.options.deadline = Some(deadline);
        self
    }

    /// How fresh the answer must be.
    pub fn fresh(mut self, fresh: Fresh) -> Self {
        self.options.fresh = fresh;
        self
    }

    /// On whose behalf the call is made.
    pub fn principal(mut self, principal: impl Into<Arc<str>>) -> Self {
        self.options.principal = Some(principal.into());
        self
    }

    /// The user that the call is about, for methods whose message does not name him: text, or a number in decimal. It
    /// routes the call and proves nothing.
    ///
    /// # Errors
    /// If it is empty, `0` or longer than a key may be.
    pub fn user_key(mut self, key: impl AsRef<[u8]>) -> Result<Self, Error> {
        let key = UserKey::from_bytes(key.as_ref());
        self.options.user_key = Some(key.map_err(|error| Error::new(crate::Code::InvalidArgument, error.to_string()))?);
        Ok(self)
    }

    /// Core or not, instead of the policy's. Calls of different priority share nothing. Routers shed a call that is made
    /// less urgent than its policy says like any that is not core; nobody's is more urgent than its policy says to them.
    pub fn priority(mut self, priority: Criticality) -> Self {
        self.options.priority = Some(priority);
        self
    }

    /// Metadata of its own.
    ///
    /// # Errors
    /// If name or value are no metadata, or the name is the mesh's or gRPC's own.
    pub fn metadata(mut self, name: &str, value: &str) -> Result<Self, Error> {
        let bad = |what: String| Error::new(crate::Code::InvalidArgument, what);
        let lower = name.to_ascii_lowercase();
        let name = lower.as_str();
        let reserved = ["cellmesh-", "grpc-"].iter().any(|prefix| name.starts_with(prefix));
        if reserved || ["te", "content-type", "user-agent", "host", "connection"].contains(&name) {
            return Err(bad(format!("metadata \"{name}\" belongs to the mesh or to gRPC")));
        }
        let key =
            HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad(format!("metadata \"{name}\" is no name")))?;
        let value = HeaderValue::from_str(value)
            .map_err(|_| bad(format!("metadata \"{name}\" has bytes that are not printable ascii")))?;
        Arc::make_mut(self.options.metadata.get_or_insert_default()).append(key, value);
        Ok(self)
    }

    /// All options at once.
    pub fn options(mut self, options: CallOptions) -> Self {
        self.options = options;
        self
    }

    /// Asks the server, whatever is known here.
    pub fn authoritative(mut self) -> Self {
        self.options.fresh = Fresh::Authoritative;
        self
    }
}

impl<'a, M: Method> IntoFuture for Call<'a, M> {
    type Output = Result<Reply<M::Response>, Error>;
    type IntoFuture = CallFuture<'a, M>;

    fn into_future(self) -> CallFuture<'a, M> {
        CallFuture(State::Fresh(Some(self)))
    }
}

/// A call on its way. What is answered inside the process is ready at the first poll, without an allocation.
///
/// Cancel-safe: dropping it gives the call up, without harm to others who wait for the same answer.
#[must_use = "a call is made when it is awaited"]
pub struct CallFuture<'a, M: Method>(State<'a, M>);

enum State<'a, M: Method> {
    Fresh(Option<Call<'a, M>>),
    Remote(BoxFuture<'a, Result<Reply<M::Response>, Error>>),
}

impl<M: Method> std::fmt::Debug for CallFuture<'_, M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CallFuture").field("method", &M::POLICY.path).finish_non_exhaustive()
    }
}

impl<M: Method> Unpin for CallFuture<'_, M> {}

impl<M: Method> Future for CallFuture<'_, M> {
    type Output = Result<Reply<M::Response>, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match &mut self.0 {
                State::Remote(remote) => return remote.as_mut().poll(cx),
                State::Fresh(fresh) => {
                    // Looked at where it stands: moving it would cost as much as answering it.
                    if let Some(reply) = fresh.as_ref().and_then(ladder::local) {
                        *fresh = None;
                        return Poll::Ready(Ok(reply));
                    }
                    let call = fresh.take().expect("a finished call is not polled again");
                    self.0 = State::Remote(ladder::remote(call));
                }
            }
        }
    }
}
