//! What a message of a feed says.

use super::{Piece, Position};

/// One message of a feed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FeedMessage<I> {
    /// Milliseconds since the stream was opened, by the sender's clock, read before the state that the message tells. A
    /// message that lay in a buffer does not look fresh.
    pub elapsed_ms: u64,
    /// How far the sender itself may be behind, in milliseconds: 0 for the writer, more for a copy.
    pub behind_ms: u64,
    /// Whether with this message everything was sent that there was at `elapsed_ms`.
    pub complete: bool,
    /// What it tells.
    pub event: FeedEvent<I>,
}

/// What a message tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeedEvent<I> {
    /// There is nothing new: everything up to this position was sent.
    Heartbeat(Position),
    /// A change, or a part of a snapshot.
    Piece(Piece<I>),
}

impl<I> FeedMessage<I> {
    /// There is nothing new: everything up to this position was sent. Only such messages, the ends of snapshots and
    /// [`complete`](Self::complete) changes renew the lease.
    #[must_use]
    pub const fn heartbeat(elapsed_ms: u64, position: Position) -> Self {
        Self { elapsed_ms, behind_ms: 0, complete: true, event: FeedEvent::Heartbeat(position) }
    }

    /// A part of a snapshot, or a change after which there may be others.
    #[must_use]
    pub const fn piece(elapsed_ms: u64, piece: Piece<I>) -> Self {
        Self { elapsed_ms, behind_ms: 0, complete: false, event: FeedEvent::Piece(piece) }
    }

    /// Says whether with this message everything was sent that there was at `elapsed_ms`: the last change that one
    /// reading gave. A feed that is never idle for a heartbeat's time needs it.
    #[must_use]
    pub fn complete(mut self, complete: bool) -> Self {
        self.complete = complete;
        self
    }

    /// Says how far the sender itself may be behind, in milliseconds.
    #[must_use]
    pub fn behind_ms(mut self, behind_ms: u64) -> Self {
        self.behind_ms = behind_ms;
        self
    }
}
