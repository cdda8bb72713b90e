//! Who wants to hear of a user's changes: long streams of his data.
//!
//! What this process commits wakes the user's watchers by name. What other processes commit does not; of that
//! [`Db::unseen`] tells no more than whether there was any, at the price of one look for all watchers together.

use crate::{Db, Engine, StorageError};
use cell_map::UserKey;
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::{sync::watch, time::timeout};

/// The watched users of a database.
#[derive(Default)]
pub(crate) struct Changes {
    users: Mutex<HashMap<UserKey, watch::Sender<()>>>,
    /// Commits of this process that may concern any user.
    unnamed: AtomicU64,
}

/// Whom a transaction concerns besides the user of its fence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Touched {
    /// Nobody.
    None,
    /// This user.
    User(UserKey),
    /// Nobody in particular.
    Any,
}

impl Changes {
    fn users(&self) -> MutexGuard<'_, HashMap<UserKey, watch::Sender<()>>> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells of a commit. To be called before the connection goes to its next borrower: see [`Db::unseen`].
    pub(crate) fn tell(&self, touched: &Touched) {
        match touched {
            Touched::None => {}
            Touched::User(key) => {
                if let Some(watchers) = self.users().get(key) {
                    watchers.send_replace(());
                }
            }
            Touched::Any => {
                self.unnamed.fetch_add(1, Ordering::Release);
            }
        }
    }
}

/// Tells when this process committed something of one user. From [`Db::changes`].
pub struct UserChanges {
    changes: Arc<Changes>,
    key: UserKey,
    // Some until it is dropped.
    seen: Option<watch::Receiver<()>>,
}

impl std::fmt::Debug for UserChanges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UserChanges").field("key", &self.key).finish_non_exhaustive()
    }
}

impl UserChanges {
    fn seen(&mut self) -> &mut watch::Receiver<()> {
        self.seen.as_mut().expect("it is taken by the drop alone")
    }

    /// What was committed so far counts as seen. Call it before reading: a commit after the read is then not missed.
    pub fn mark_seen(&mut self) {
        self.seen().mark_unchanged();
    }

    /// Whether something was committed that is not seen yet.
    #[must_use]
    pub fn has_changed(&mut self) -> bool {
        self.seen().has_changed().unwrap_or(true)
    }

    /// Waits until something was committed that is not seen yet, and marks it as seen. Cancel-safe.
    pub async fn changed(&mut self) {
        // The sender lives as long as a receiver does.
        let _ = self.seen().changed().await;
    }
}

impl Drop for UserChanges {
    fn drop(&mut self) {
        let mut users = self.changes.users();
        self.seen = None;
        if users.get(&self.key).is_some_and(|watchers| watchers.receiver_count() == 0) {
            users.remove(&self.key);
        }
    }
}

/// Stays equal as long as [`Db::changes`] told of every commit to the database. From [`Db::unseen`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unseen {
    foreign: (u64, i64),
    unnamed: u64,
}

impl<E: Engine> Db<E> {
    /// Tells when this process committed something of a user: a fenced write, or a step of his move. It does so before
    /// the writer hears of it.
    #[must_use]
    pub fn changes(&self, key: &UserKey) -> UserChanges {
        let changes = Arc::clone(&self.inner.changes);
        let seen = changes.users().entry(key.clone()).or_default().subscribe();
        UserChanges { changes, key: key.clone(), seen: Some(seen) }
    }

    /// A mark to be compared with an earlier one. If both are equal, then of all that was committed between them
    /// [`changes`](Self::changes) has told already; what a user's data was at the first one and still is by
    /// `changes`, it was at the second one too. `None` if the engine cannot tell: read again.
    ///
    /// # Errors
    /// If the database failed or was too busy.
    pub async fn unseen(&self) -> Result<Option<Unseen>, StorageError> {
        let inner = &self.inner;
        let foreign = timeout(inner.settings.queue_limit, inner.engine.foreign_commits());
        let foreign = foreign.await.map_err(|_| StorageError::Busy("the queue for a connection was too slow"))??;
        let unnamed = inner.changes.unnamed.load(Ordering::Acquire);
        Ok(foreign.map(|foreign| Unseen { foreign, unnamed }))
    }
}
