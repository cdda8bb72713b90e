//! The task that looks at the store.

use super::{MapWatch, Shared, StopOnDrop, WatchOptions};
use crate::{MapSource, Stamp, StoreError, file::Snapshot};
use cell_map::{Admission, CellMap, admit};
use std::sync::Arc;
use tokio::{task::spawn_blocking, time};

pub(super) async fn start(source: Arc<dyn MapSource>, options: WatchOptions) -> Result<MapWatch, StoreError> {
    let snapshot = options.snapshot.clone().map(Snapshot::at);
    let (first_source, first_snapshot) = (Arc::clone(&source), snapshot.clone());
    let first = spawn_blocking(move || first_map(&*first_source, first_snapshot.as_ref())).await;
    let (map, trouble) = first.map_err(|_| StoreError::ShuttingDown)??;
    let shared = Shared::new(map);
    if let Some(error) = trouble {
        shared.alarm(&error, &source.describe());
    }
    let looker = Looker { source, snapshot, seen: None };
    let task = tokio::spawn(run(looker, Arc::clone(&shared), options));
    Ok(MapWatch { shared, _task: Some(Arc::new(StopOnDrop(task.abort_handle()))) })
}

/// The map to start with, and what was wrong if it is not the store's.
fn first_map(source: &dyn MapSource, snapshot: Option<&Snapshot>) -> Result<(CellMap, Option<StoreError>), StoreError> {
    let kept = snapshot.and_then(|snapshot| match snapshot.read() {
        Ok(map) => Some(map),
        Err(StoreError::NotFound { .. }) => None,
        Err(error) => {
            tracing::warn!(%error, "the snapshot of the cell map is of no use");
            None
        }
    });
    match (source.load(), kept) {
        (Ok(map), None) => Ok((map, None)),
        (Ok(map), Some(kept)) => match admit(&kept, &map) {
            Admission::Newer | Admission::Same => Ok((map, None)),
            Admission::Refused(error) => Ok((kept, Some(error.into()))),
        },
        (Err(error), Some(kept)) => Ok((kept, Some(error))),
        (Err(error), None) => match source.last_good() {
            Some(copy) => Ok((copy, Some(error))),
            None => Err(error),
        },
    }
}

/// Looks until the last [`MapWatch`] is dropped.
async fn run(mut looker: Looker, shared: Arc<Shared>, options: WatchOptions) {
    loop {
        let state = Arc::clone(&shared);
        let look = spawn_blocking(move || {
            looker.look(&state);
            looker
        });
        match look.await {
            Ok(back) => looker = back,
            Err(error) if error.is_panic() => {
                tracing::error!(%error, "watching the cell map ended; the one in force stays");
                return;
            }
            Err(_) => return,
        }
        tokio::select! {
            () = time::sleep(options.poll) => {}
            () = shared.look_again.notified() => looker.seen = None,
        }
    }
}

struct Looker {
    source: Arc<dyn MapSource>,
    snapshot: Option<Snapshot>,
    /// What was looked at last: (its stamp if there was one, what was wrong with it).
    seen: Option<(Option<Stamp>, Option<String>)>,
}

impl Looker {
    /// Reads the map if the store changed. What is wrong is reported once, not at every look.
    fn look(&mut self, shared: &Shared) {
        let stamp = self.source.stamp().ok();
        let before = self.seen.take();
        if let (Some(now), Some((Some(then), trouble))) = (stamp, &before)
            && now.identity == then.identity
            && then.settled
        {
            let trouble = trouble.clone();
            self.seen = Some((stamp, trouble));
            return;
        }
        let known_trouble = before.and_then(|(_, trouble)| trouble);
        let trouble = self.source.load().and_then(|map| match shared.offer(map) {
            Admission::Newer => {
                self.keep(&shared.current.load());
                Ok(())
            }
            Admission::Same => Ok(()),
            Admission::Refused(error) => Err(error.into()),
        });
        let trouble = trouble.err().map(|error| {
            let said = error.to_string();
            if known_trouble.as_ref() != Some(&said) {
                self.report(shared, &error);
            }
            said
        });
        self.seen = Some((stamp, trouble));
    }

    fn report(&self, shared: &Shared, error: &StoreError) {
        let from = self.source.describe();
        match error {
            StoreError::Inadmissible(refusal) => shared.refused(*refusal, &from),
            error => shared.alarm(error, &from),
        }
    }

    fn keep(&self, map: &CellMap) {
        if let Some(Err(error)) = self.snapshot.as_ref().map(|snapshot| snapshot.write(map)) {
            tracing::warn!(%error, "the snapshot of the cell map could not be written");
        }
    }
}
