//! The stream that tells a client everything it needs to find its way by itself.

use super::Watched;
use crate::directory;
use cell_map::CellId;
use futures_util::stream::{Stream, unfold};
use mesh_proto::control_v1::{WatchMeshRequest, WatchMeshResponse};
use std::time::Duration;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};
use tonic::Status;

/// Longest time between two messages.
const HEARTBEAT: Duration = Duration::from_secs(1);

struct State {
    here: CellId,
    watched: Watched,
    start: Instant,
    beat: Interval,
    known_map: (u64, u64),
    with_map: bool,
}

/// What is new, whole, at first and whenever it changes; a heartbeat between. Ends with the router.
pub(super) fn stream(
    here: CellId,
    mut watched: Watched,
    request: WatchMeshRequest,
) -> impl Stream<Item = Result<WatchMeshResponse, Status>> {
    let WatchMeshRequest { known_incarnation, known_epoch, without_map } = request;
    let mut beat = interval(HEARTBEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    watched.maps.mark_changed();
    watched.instances.mark_changed();
    watched.restrictions.mark_changed();
    let known_map = (known_incarnation, known_epoch);
    let state = State { here, watched, start: Instant::now(), beat, known_map, with_map: !without_map };
    unfold(state, |mut state| async move { Some((Ok(state.next().await?), state)) })
}

impl State {
    /// The next message; none when the router ends.
    async fn next(&mut self) -> Option<WatchMeshResponse> {
        let Watched { maps, instances, restrictions } = &mut self.watched;
        tokio::select! {
            biased;
            changed = maps.changed() => changed.ok()?,
            changed = instances.changed() => changed.ok()?,
            changed = restrictions.changed() => changed.ok()?,
            _ = self.beat.tick() => return Some(self.message()),
        }
        // `changed` marked one of them as seen; it is told all the same.
        Some(self.news())
    }

    fn message(&self) -> WatchMeshResponse {
        WatchMeshResponse {
            cell: self.here.to_string(),
            elapsed_ms: u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX),
            ..WatchMeshResponse::default()
        }
    }

    /// Everything, as of before it is read, where anything changed: changes are rare, and a client that takes the whole cannot miss a part. Only the
    /// map is left out where the client has it.
    fn news(&mut self) -> WatchMeshResponse {
        let dated = self.message();
        let map = self.watched.maps.borrow_and_update().clone();
        let instances = self.watched.instances.borrow_and_update().clone();
        let restrictions = self.watched.restrictions.borrow_and_update().clone();
        let version = (map.incarnation().get(), map.epoch().get());
        let news = std::mem::replace(&mut self.known_map, version) != version && self.with_map;
        WatchMeshResponse {
            map: news.then(|| (&*map).into()),
            instances: Some(directory::message(&instances, &map)),
            restrictions: Some((*restrictions).clone()),
            ..dated
        }
    }
}
