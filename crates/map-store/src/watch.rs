//! Watching a store: the map in force, always whole, never going back.

mod poll;

use crate::{MapSource, StoreError};
use arc_swap::{ArcSwap, Guard};
use cell_map::{Admission, AdmitError, CellMap, Incarnation, admit};
use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{Notify, watch},
    task::AbortHandle,
};

/// How a store is watched.
#[derive(Clone, Debug)]
pub struct WatchOptions {
    /// Time between two looks at the store.
    pub poll: Duration,
    /// Where this process keeps its own copy of the map in force. With one, a restart goes back to no older map and
    /// needs no store.
    pub snapshot: Option<PathBuf>,
}

impl Default for WatchOptions {
    /// A look every 250 ms, no snapshot.
    fn default() -> Self {
        Self { poll: Duration::from_millis(250), snapshot: None }
    }
}

/// The map in force in this process. Clones are one watch; watching ends with the last.
///
/// A map is replaced only by one that [`admit`] takes. Whatever else a store offers (an older epoch, another history,
/// garbage) is logged, counted in [`Self::alarms`], and the map in force stays.
#[derive(Clone)]
pub struct MapWatch {
    shared: Arc<Shared>,
    /// Held, not used: the last clone stops the task.
    _task: Option<Arc<StopOnDrop>>,
}

struct Shared {
    current: ArcSwap<CellMap>,
    changes: watch::Sender<Arc<CellMap>>,
    adopted: AtomicU64,
    alarms: AtomicU64,
    look_again: Notify,
}

struct StopOnDrop(AbortHandle);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Reads the map and goes on watching the store. Must be called within a tokio runtime.
///
/// # Errors
/// If the store gives no map, and there is neither a snapshot nor a last good copy.
pub async fn watch(source: impl MapSource, options: WatchOptions) -> Result<MapWatch, StoreError> {
    poll::start(Arc::new(source), options).await
}

impl MapWatch {
    /// A watch that stays at one map, unless it is [offered](Self::offer) others.
    #[must_use]
    pub fn fixed(map: CellMap) -> Self {
        Self { shared: Shared::new(map), _task: None }
    }

    /// The map in force, at the least cost: no reference count is touched. Not to be held across an `.await`.
    #[must_use]
    pub fn load(&self) -> Guard<Arc<CellMap>> {
        self.shared.current.load()
    }

    /// The map in force, to keep.
    #[must_use]
    pub fn current(&self) -> Arc<CellMap> {
        self.shared.current.load_full()
    }

    /// Tells of every map that comes into force from now on. A slow receiver sees the newest only.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<CellMap>> {
        self.shared.changes.subscribe()
    }

    /// Offers a map from elsewhere, such as another router's stream. Takes it by the rules of [`admit`].
    pub fn offer(&self, map: CellMap) -> Admission {
        let outcome = self.shared.offer(map);
        if let Admission::Refused(error) = outcome {
            self.shared.refused(error, "offer");
        }
        outcome
    }

    /// Lets this process go over to another history: a map of this incarnation is taken whatever its epoch, if the
    /// incarnation is higher than that of the map in force. An operator's decision.
    pub fn adopt(&self, incarnation: Incarnation) {
        self.shared.adopted.fetch_max(incarnation.get(), Ordering::Relaxed);
        self.shared.look_again.notify_one();
    }

    /// How often a map was refused with an alarm, or the store's was damaged, since the start.
    #[must_use]
    pub fn alarms(&self) -> u64 {
        self.shared.alarms.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn new(map: CellMap) -> Arc<Self> {
        let map = Arc::new(map);
        Arc::new(Self {
            current: ArcSwap::new(Arc::clone(&map)),
            changes: watch::Sender::new(map),
            adopted: AtomicU64::new(0),
            alarms: AtomicU64::new(0),
            look_again: Notify::new(),
        })
    }

    fn offer(&self, map: CellMap) -> Admission {
        let mut outcome = Admission::Same;
        // The channel's lock makes deciding and replacing one step.
        self.changes.send_if_modified(|current| {
            outcome = self.decide(current, &map);
            let take = outcome == Admission::Newer;
            if take {
                *current = Arc::new(map);
                self.current.store(Arc::clone(current));
            }
            take
        });
        if outcome == Admission::Newer {
            let map = self.current.load();
            let (epoch, incarnation) = (map.epoch().get(), map.incarnation().get());
            tracing::info!(map.epoch = epoch, map.incarnation = incarnation, "cell map in force");
        }
        outcome
    }

    fn decide(&self, current: &CellMap, offered: &CellMap) -> Admission {
        let adopted = Incarnation::new(self.adopted.load(Ordering::Relaxed));
        match admit(current, offered) {
            Admission::Refused(AdmitError::OtherIncarnation { current, offered })
                if offered > current && offered == adopted =>
            {
                Admission::Newer
            }
            admission => admission,
        }
    }

    fn refused(&self, error: AdmitError, from: &str) {
        if error.is_alarm() {
            self.alarm(&error, from);
        } else {
            tracing::warn!(%error, from, "cell map refused; the one in force stays");
        }
    }

    fn alarm(&self, error: &dyn std::fmt::Display, from: &str) {
        self.alarms.fetch_add(1, Ordering::Relaxed);
        tracing::error!(%error, from, "cell map refused; the one in force stays");
    }
}

impl std::fmt::Debug for MapWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MapWatch").field("current", &*self.load()).field("alarms", &self.alarms()).finish()
    }
}
