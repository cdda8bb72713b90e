//! Global data: one stream, open as long as the mesh is.

use super::{
    GlobalFeed,
    feeds::{FeedReport, FeedStats},
    follow::{Follower, Line, StreamCounts, Target},
    snapshot::Slot,
};
use crate::Method;
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};
use tokio_util::task::AbortOnDropHandle;

/// The data of a global feed, kept up to date.
pub struct GlobalData<F: GlobalFeed> {
    place: Arc<Place<F>>,
    _follower: AbortOnDropHandle<()>,
}

struct Place<F: GlobalFeed> {
    slot: Slot<F::Snapshot>,
    bytes: AtomicUsize,
    counts: Arc<StreamCounts>,
}

impl<F: GlobalFeed> Target<F::Snapshot> for Arc<Place<F>> {
    fn slot(&self) -> &Slot<F::Snapshot> {
        &self.slot
    }

    fn holds(&self, bytes: usize) {
        self.bytes.store(bytes, Relaxed);
    }
}

impl<F: GlobalFeed> GlobalData<F> {
    /// Starts to follow the feed, on the runtime that this is called in.
    pub(crate) fn follow(line: Line) -> Self {
        let counts = Arc::<StreamCounts>::default();
        let place =
            Arc::new(Place { slot: Slot::new(line.clock), bytes: AtomicUsize::new(0), counts: Arc::clone(&counts) });
        let follower = Follower::<F, _> {
            line,
            key: None,
            target: Arc::clone(&place),
            counts,
            opening: None,
            subscribe: |_, from| F::subscribe(from),
        };
        Self { place, _follower: AbortOnDropHandle::new(tokio::spawn(follower.run())) }
    }

    /// The data's place.
    pub(crate) fn slot(&self) -> &Slot<F::Snapshot> {
        &self.place.slot
    }
}

impl<F: GlobalFeed> FeedReport for GlobalData<F> {
    fn report(&self) -> FeedStats {
        let place = &*self.place;
        FeedStats {
            method: <F::Stream as Method>::POLICY.path,
            snapshots: usize::from(place.slot.see().is_some()),
            bytes: place.bytes.load(Relaxed),
            streams_opened: place.counts.opened.load(Relaxed),
            streams_failed: place.counts.failed.load(Relaxed),
            first_data: place.slot.first(),
            ..FeedStats::default()
        }
    }
}
