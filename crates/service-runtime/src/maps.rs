//! The cell map of a process: where it has it from, and how it tells others.

mod admin;
mod upstream;

pub(crate) use admin::MapAdmin;

use crate::{config::MapConfig, error::RuntimeError};
use cell_map::CellMap;
use futures_util::stream::{BoxStream, StreamExt as _, unfold};
use map_store::{FileStore, MapWatch, StoreError, WatchOptions, watch};
use mesh_proto::control_v1::{
    GetMapRequest, GetMapResponse, WatchMapRequest, WatchMapResponse, map_service_server::MapService,
};
use std::{sync::Arc, time::Duration};
use tokio::{sync::watch::Receiver, time::timeout};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, async_trait};

/// Longest time between two messages of a watch.
const HEARTBEAT: Duration = Duration::from_secs(4);

/// The map in force in this process, watched if configured so. With `map.upstream` it waits for the first map if the file
/// has none yet, and from then on the file follows those it is copied from.
///
/// # Errors
/// If no file is configured, or it holds no map and there is nobody to copy it from.
pub async fn maps(config: &MapConfig) -> Result<MapWatch, RuntimeError> {
    if config.file.as_os_str().is_empty() {
        return Err(RuntimeError::Map("no file is given".into()));
    }
    let store = FileStore::open(&config.file);
    let fault = |error: StoreError| RuntimeError::Map(error.to_string());
    if !config.upstream.is_empty() {
        upstream::follow(store.clone(), &config.upstream).await.map_err(RuntimeError::Map)?;
    }
    if config.watch {
        watch(store, WatchOptions::default()).await.map_err(fault)
    } else {
        store.load().map(MapWatch::fixed).map_err(fault)
    }
}

/// `cellmesh.control.v1.MapService`: tells the map in force here.
#[derive(Clone, Debug)]
pub struct Maps {
    maps: Receiver<Arc<CellMap>>,
    drain: CancellationToken,
}

impl Maps {
    /// Tells of these maps until the drain begins: a watch has no end of its own, and the drain would wait for it.
    #[must_use]
    pub const fn new(maps: Receiver<Arc<CellMap>>, drain: CancellationToken) -> Self {
        Self { maps, drain }
    }
}

#[async_trait]
impl MapService for Maps {
    async fn get_map(&self, _: Request<GetMapRequest>) -> Result<Response<GetMapResponse>, Status> {
        let map = Arc::clone(&self.maps.borrow());
        Ok(Response::new(GetMapResponse { map: Some((&*map).into()) }))
    }

    type WatchMapStream = BoxStream<'static, Result<WatchMapResponse, Status>>;

    async fn watch_map(&self, request: Request<WatchMapRequest>) -> Result<Response<Self::WatchMapStream>, Status> {
        let WatchMapRequest { known_epoch, known_incarnation } = request.into_inner();
        let mut maps = self.maps.clone();
        maps.mark_changed();
        let stream = unfold((maps, (known_incarnation, known_epoch)), |(mut maps, known)| async move {
            let map = match timeout(HEARTBEAT, maps.changed()).await {
                Err(_) => None,
                Ok(Err(_)) => return None,
                Ok(Ok(())) => Some(Arc::clone(&maps.borrow_and_update())),
            };
            // A caller that knows no incarnation compares epochs alone.
            let news = map.filter(|map| {
                let (incarnation, epoch) = (map.incarnation().get(), map.epoch().get());
                if known.0 == 0 || known.0 == incarnation { epoch > known.1 } else { true }
            });
            let known = news.as_ref().map_or(known, |map| (map.incarnation().get(), map.epoch().get()));
            Some((Ok(WatchMapResponse { map: news.map(|map| (&*map).into()) }), (maps, known)))
        });
        Ok(Response::new(stream.take_until(self.drain.clone().cancelled_owned()).boxed()))
    }
}
