//! The rung below all others: an encoded message goes to a cell and its answer comes back.
//!
//! Everything above (local logic, coalescing, batching) works on typed messages and is generic; everything below works on
//! bytes and is not, so that it is compiled once and measured once. Beside the mesh there is a wire for tests of callers'
//! code ([`crate::Mesh`] made of mocks).

use crate::{Criticality, Error, Fresh, MethodPolicy, Source, Token};
use bytes::Bytes;
use cell_map::{CellId, UserKey};
use futures_util::future::BoxFuture;
use http::HeaderMap;
use std::time::Instant;

/// One call, encoded.
#[derive(Clone, Debug)]
pub(crate) struct WireCall {
    /// What its `.proto` says.
    pub policy: &'static MethodPolicy,
    /// The message in an uncompressed gRPC frame (five bytes of header, see `mesh_layers::frame`).
    pub frame: Bytes,
    /// The user key; none for methods without one. Of a batch: its first item's.
    pub key: Option<UserKey>,
    /// When it ends at the latest.
    pub deadline: Instant,
    /// What the answer must show.
    pub fresh: Fresh,
    /// Metadata of the caller's own.
    pub metadata: Option<std::sync::Arc<HeaderMap>>,
    /// What else is wanted of it.
    pub wants: Wants,
}

/// What is wanted of one call other than its policy says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wants {
    /// The key stands in metadata, since the message has none.
    pub key_in_metadata: bool,
    /// Not sent again once it may have been processed.
    pub no_retry: bool,
    /// The message names other users than its key too. An answer about a user's home (`WRONG_CELL`, `MOVING`) may then
    /// speak of any of them: it is not learnt, followed or waited for, but returned; the callers ask for each alone.
    pub among_others: bool,
    /// It goes through a router: it was put together for one.
    pub by_router: bool,
    /// It is less urgent than its policy says.
    pub non_core: bool,
}

impl Wants {
    /// Of a call with this priority, nothing else.
    pub fn ranked(policy: &MethodPolicy, priority: Criticality) -> Self {
        let non_core = priority == Criticality::NonCore && policy.criticality == Criticality::Core;
        Self { non_core, ..Self::default() }
    }
}

/// Its answer.
#[derive(Clone, Debug)]
pub(crate) struct WireReply {
    /// The response message, unframed and decompressed.
    pub message: Bytes,
    /// The cell that answered.
    pub cell: Option<CellId>,
    /// How often it was sent.
    pub attempts: u8,
    /// Hops between cells' routers.
    pub hops: u8,
    /// `cellmesh-token` of the response.
    pub token: Option<Token>,
}

impl WireReply {
    /// As the source of a call of its own.
    pub fn source(&self) -> Source {
        Source::Remote { cell: self.cell.clone(), attempts: self.attempts, hops: self.hops }
    }
}

/// The messages of a server's stream, one after another; none at its end.
pub(crate) trait WireStream: Send {
    /// The next message, unframed and decompressed.
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, Error>>;
    /// The cell that answers.
    fn cell(&self) -> Option<&CellId>;
}

/// Where calls go that batching may put together: the same place, the same group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Destination {
    /// A cell.
    Cell(CellId),
    /// A router, which finds the cells.
    Router,
}

/// Sends calls.
pub(crate) trait Wire: Send + Sync + 'static {
    /// Sends a unary call and waits for its answer; sends it again as policy, budget and deadline allow. It ends by the
    /// call's deadline: the rungs above set no timers for it. It may be polled by one task after another, since a shared
    /// call is driven by whoever waits for it: what it takes from its task (trace, context) it takes when it begins.
    ///
    /// Cancel-safe: dropping the future cancels the call.
    fn unary(&self, call: WireCall) -> BoxFuture<'_, Result<WireReply, Error>>;

    /// Opens a server's stream.
    fn stream(&self, call: WireCall) -> BoxFuture<'_, Result<Box<dyn WireStream>, Error>>;

    /// Where a call with this key would go now.
    fn destination(&self, policy: &MethodPolicy, key: Option<&[u8]>) -> Destination;
}
