//! Global data: one stream, open as long as the mesh is.

use super::{
    GlobalFeed,
    feeds::{FeedReport, FeedStats},
    follow::{Follower, Line, Target},
    snapshot::Place,
    stream_counts::StreamCounts,
};
use crate::Method;
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};
use tokio_util::task::AbortOnDropHandle;

/// The data of a global feed, kept up to date.
pub struct GlobalData<F: GlobalFeed> {
    kept: Arc<Kept<F>>,
    _follower: AbortOnDropHandle<()>,
}

struct Kept<F: GlobalFeed> {
    place: Place<F::Snapshot>,
    bytes: AtomicUsize,
    counts: Arc<StreamCounts>,
}

impl<F: GlobalFeed> Target<F::Snapshot> for Arc<Kept<F>> {
    fn place(&self) -> &Place<F::Snapshot> {
        &self.place
    }

    fn holds(&self, bytes: usize) {
        self.bytes.store(bytes, Relaxed);
    }
}

impl<F: GlobalFeed> GlobalData<F> {
    /// Starts to follow the feed, on the runtime that this is called in.
    pub(crate) fn follow(line: Line, counts: Arc<StreamCounts>) -> Self {
        let kept =
            Arc::new(Kept { place: Place::new(line.clock), bytes: AtomicUsize::new(0), counts: Arc::clone(&counts) });
        let follower = Follower::<F, _> {
            line,
            key: None,
            target: Arc::clone(&kept),
            counts,
            opening: None,
            subscribe: |_, from| F::subscribe(from),
        };
        Self { kept, _follower: AbortOnDropHandle::new(tokio::spawn(follower.run())) }
    }

    /// The data's place.
    pub(crate) fn place(&self) -> &Place<F::Snapshot> {
        &self.kept.place
    }
}

impl<F: GlobalFeed> FeedReport for GlobalData<F> {
    fn counts(&self) -> &StreamCounts {
        &self.kept.counts
    }

    fn report(&self) -> FeedStats {
        let kept = &*self.kept;
        FeedStats {
            method: <F::Stream as Method>::POLICY.path,
            snapshots: usize::from(kept.place.see().is_some()),
            bytes: kept.bytes.load(Relaxed),
            streams_opened: kept.counts.opened.load(Relaxed),
            streams_failed: kept.counts.failed.load(Relaxed),
            panics: kept.counts.panics(),
            first_data: kept.place.first(),
            ..FeedStats::default()
        }
    }
}
