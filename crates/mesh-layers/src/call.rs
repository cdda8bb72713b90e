//! The context of the running call.

use crate::{
    error::WrongCell,
    metadata::Token,
    trust::{Believed, Listener},
};
use cell_map::{CellId, MapEpoch, OwnerEpochs, UserEpoch, UserKey};
use http::{HeaderMap, HeaderValue, Uri};
use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

tokio::task_local! {
    static CURRENT: CallContext;
}

/// Most refusals remembered of one call: more than a batch has items. A call that is refused oftener is a loop.
const MAX_REFUSALS: usize = 128;

/// What one call is allowed and what it did so far. Cheap to clone; it stands in the request's extensions and in a
/// task-local, so that code below the handler finds it. A spawned task does not inherit it.
#[derive(Clone, Debug)]
pub struct CallContext(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    start: CallStart,
    fenced_commits: AtomicU32,
    refusals: Mutex<Vec<Refusal>>,
    stood: Mutex<Stood>,
    kept: Mutex<Vec<Guard>>,
}

/// Where the users' data stood that the call touched.
#[derive(Debug, Default)]
enum Stood {
    #[default]
    Unknown,
    Of {
        user: UserKey,
        at: (UserEpoch, u64),
    },
    /// Tokens are one user's.
    OfSeveral,
}

/// Something to give back when the call ends.
struct Guard(#[expect(dead_code, reason = "held for its drop")] Box<dyn Send>);

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guard")
    }
}

/// How a call begins.
#[derive(Clone, Debug)]
pub struct CallStart {
    /// The cell that this process belongs to.
    pub cell: CellId,
    /// `/package.Service/Method`.
    pub path: Uri,
    /// Where it came in.
    pub listener: Listener,
    /// What is believed of its metadata.
    pub believed: Believed,
    /// The user key in its metadata: a hint, never identity.
    pub user_hint: Option<UserKey>,
    /// When it ends at the latest.
    pub deadline: Instant,
    /// W3C trace context that came with it, passed on untouched when there is no span here.
    pub trace: Option<TraceHeaders>,
}

/// `traceparent` and `tracestate` as they came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceHeaders {
    /// `traceparent`.
    pub parent: HeaderValue,
    /// `tracestate`.
    pub state: Option<HeaderValue>,
}

impl TraceHeaders {
    /// Of a request.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let parent = headers.get(crate::metadata::TRACEPARENT)?.clone();
        Some(Self { parent, state: headers.get(crate::metadata::TRACESTATE).cloned() })
    }

    /// The trace id: 32 hex digits, if the parent is well formed enough to have one.
    #[must_use]
    pub fn trace_id(&self) -> Option<&str> {
        let id = self.parent.to_str().ok()?.split('-').nth(1)?;
        (id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit())).then_some(id)
    }
}

/// A refusal by the database's fence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Another cell owns the user.
    WrongCell(WrongCell),
    /// The user is moving.
    Moving,
}

impl CallContext {
    /// A new call.
    #[must_use]
    pub fn new(start: CallStart) -> Self {
        Self(Arc::new(Inner {
            start,
            fenced_commits: AtomicU32::new(0),
            refusals: Mutex::default(),
            stood: Mutex::default(),
            kept: Mutex::default(),
        }))
    }

    /// The call that the current task serves, if it serves one.
    #[must_use]
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Self::clone).ok()
    }

    /// Calls `read` with the current call, without cloning it.
    pub fn with_current<T>(read: impl FnOnce(&Self) -> T) -> Option<T> {
        CURRENT.try_with(read).ok()
    }

    /// Runs a future as part of this call.
    pub fn scope<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        CURRENT.scope(self.clone(), future)
    }

    /// Runs a closure as part of this call.
    pub fn sync_scope<T>(&self, run: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(self.clone(), run)
    }

    /// The cell that this process belongs to.
    #[must_use]
    pub fn cell(&self) -> &CellId {
        &self.0.start.cell
    }

    /// `/package.Service/Method`.
    #[must_use]
    pub fn path(&self) -> &str {
        self.0.start.path.path()
    }

    /// Where the call came in.
    #[must_use]
    pub fn listener(&self) -> Listener {
        self.0.start.listener
    }

    /// Whether hops and epochs are believed.
    #[must_use]
    pub fn is_trusted(&self) -> bool {
        self.listener() == Listener::Peer
    }

    /// Cross-cell hops so far.
    #[must_use]
    pub fn hops(&self) -> u32 {
        self.0.start.believed.hops
    }

    /// The epochs that the caller asks with: the fence answers by them (`ownership.md`, What a cell answers).
    #[must_use]
    pub fn asked(&self) -> OwnerEpochs {
        self.0.start.believed.asked
    }

    /// Map epoch that the caller decided by.
    #[must_use]
    pub fn map_epoch(&self) -> Option<MapEpoch> {
        self.0.start.believed.map_epoch
    }

    /// User key in the metadata: a routing hint. A handler takes its key from its own message.
    #[must_use]
    pub fn user_hint(&self) -> Option<&UserKey> {
        self.0.start.user_hint.as_ref()
    }

    /// When the call ends at the latest.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.0.start.deadline
    }

    /// Time left, zero when late.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.deadline().saturating_duration_since(Instant::now())
    }

    /// Trace context that came with the call.
    #[must_use]
    pub fn trace(&self) -> Option<&TraceHeaders> {
        self.0.start.trace.as_ref()
    }

    /// Keeps a guard (a permit, bytes of a budget) until the call is over, its response stream included.
    pub fn keep(&self, guard: impl Send + 'static) {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner).push(Guard(Box::new(guard)));
    }

    /// Notes where a user's data stood in a fenced transaction of this call.
    pub fn note_standing(&self, user: &UserKey, user_epoch: UserEpoch, position: u64) {
        let (mut stood, now) = (self.0.stood.lock().unwrap_or_else(PoisonError::into_inner), (user_epoch, position));
        match &mut *stood {
            Stood::Unknown => *stood = Stood::Of { user: user.clone(), at: now },
            Stood::Of { user: known, at } if known == user => *at = now.max(*at),
            Stood::Of { .. } | Stood::OfSeveral => *stood = Stood::OfSeveral,
        }
    }

    /// The token of the call's answer: the latest standing noted, if all were one user's.
    #[must_use]
    pub fn token(&self) -> Option<Token> {
        match &*self.0.stood.lock().unwrap_or_else(PoisonError::into_inner) {
            Stood::Of { at: (epoch, position), .. } => Some(Token::new(self.cell().clone(), epoch.get(), *position)),
            Stood::Unknown | Stood::OfSeveral => None,
        }
    }

    /// Notes that something of this call has taken effect, or may have: a fenced transaction has committed, another
    /// service was asked to change something. From now on the call may not be sent again (OWN-9).
    pub fn note_fenced_commit(&self) {
        self.0.fenced_commits.fetch_add(1, Ordering::Release);
    }

    /// Fenced transactions of this call that have committed.
    #[must_use]
    pub fn fenced_commits(&self) -> u32 {
        self.0.fenced_commits.load(Ordering::Acquire)
    }

    /// Notes that the fence refused this call, which gives it the right to answer so.
    pub fn note_refusal(&self, refusal: Refusal) {
        let mut refusals = self.0.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        if refusals.len() < MAX_REFUSALS && !refusals.contains(&refusal) {
            refusals.push(refusal);
        }
    }

    /// Whether the fence refused this call so: an ownership answer that it did not give is forged.
    #[must_use]
    pub fn was_refused(&self, refusal: &Refusal) -> bool {
        self.0.refusals.lock().unwrap_or_else(PoisonError::into_inner).contains(refusal)
    }
}
