//! What a call returns.

use crate::Token;
use cell_map::CellId;
use std::time::Duration;

/// An answer, and where it came from.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Reply<T> {
    /// The response message.
    pub value: T,
    /// The rung of the ladder that answered.
    pub source: Source,
    /// Where the user's data stood, if the service said: for [`Fresh::AtLeast`](crate::Fresh::AtLeast).
    pub token: Option<Token>,
}

/// The rung of the ladder that answered a call.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// Logic inside this process; no call was made.
    Local {
        /// Its name.
        logic: &'static str,
        /// How long ago the data it decided by was last confirmed.
        age: Duration,
        /// Whether the mesh was asked first and did not answer.
        stale: bool,
    },
    /// Another caller's call, which was on its way already.
    Coalesced {
        /// The cell that answered it.
        cell: Option<CellId>,
    },
    /// An earlier call of the same [`RequestScope`](crate::RequestScope).
    Remembered {
        /// The cell that answered it.
        cell: Option<CellId>,
    },
    /// A call that carried several callers' items.
    Batched {
        /// How many items.
        items: u32,
        /// The cell that answered.
        cell: Option<CellId>,
    },
    /// A call of its own.
    Remote {
        /// The cell that answered.
        cell: Option<CellId>,
        /// How often it was sent.
        attempts: u8,
        /// Hops between cells' routers; 0 if it went straight to its home, or its router was at home.
        hops: u8,
    },
}

impl<T> Reply<T> {
    /// An answer from this rung.
    #[must_use]
    pub fn new(value: T, source: Source, token: Option<Token>) -> Self {
        Self { value, source, token }
    }

    /// The response message alone.
    #[must_use]
    pub fn into_inner(self) -> T {
        self.value
    }

    /// The same with another value.
    #[must_use]
    pub fn map<U>(self, map: impl FnOnce(T) -> U) -> Reply<U> {
        Reply { value: map(self.value), source: self.source, token: self.token }
    }
}

impl Source {
    /// Whether it is data past its lease.
    pub(crate) fn is_stale(&self) -> bool {
        matches!(self, Self::Local { stale: true, .. })
    }

    /// The cell that answered, where one did and said so.
    #[must_use]
    pub fn cell(&self) -> Option<&CellId> {
        match self {
            Self::Local { .. } => None,
            Self::Coalesced { cell }
            | Self::Remembered { cell }
            | Self::Batched { cell, .. }
            | Self::Remote { cell, .. } => cell.as_ref(),
        }
    }
}
