//! A copy of the map that other processes have: kept in this one's file, so that it starts and goes on without them.

use cell_map::{Admission, CellMap};
use map_store::{FileStore, StoreError};
use mesh_proto::control_v1::{WatchMapRequest, map_service_client::MapServiceClient};
use std::{collections::BTreeMap, time::Duration};
use tokio::{
    sync::oneshot,
    task::spawn_blocking,
    time::{sleep, timeout},
};
use tonic::transport::Endpoint;

/// Longest wait for a connection, and for the first message.
const CONNECT: Duration = Duration::from_secs(3);
/// A stream that is silent for so long is given up; a heartbeat comes every 4 s.
const SILENCE: Duration = Duration::from_secs(15);
/// Between two attempts, for as long as none is there.
const PAUSE: Duration = Duration::from_secs(1);
/// How long one that is not the preferred one is followed before the preferred one is tried again.
const BACK: Duration = Duration::from_secs(30);
/// Largest message taken, in bytes.
const MAX_MESSAGE: usize = map_store::format::MAX_BYTES as usize;

/// Follows the first of `addresses` (`HOST:PORT`) that answers, for as long as the runtime lives, in a task of its own.
/// Returns once the file has a map.
///
/// # Errors
/// If an address is none.
pub(super) async fn follow(store: FileStore, addresses: &[String]) -> Result<(), String> {
    let endpoints = addresses.iter().map(|address| endpoint(address)).collect::<Result<Vec<_>, _>>()?;
    let (first, there) = oneshot::channel();
    let mut copy = Copy { store, first: Some(first), said: BTreeMap::new() };
    copy.look().await;
    tokio::spawn(copy.run(endpoints));
    // The task ends with the runtime only.
    let _ = there.await;
    Ok(())
}

fn endpoint(address: &str) -> Result<(String, Endpoint), String> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .ok()
        .filter(|endpoint| endpoint.uri().port().is_some() && endpoint.uri().path() == "/")
        .ok_or_else(|| format!("key \"map.upstream\": \"{address}\" is not HOST:PORT"))?;
    let endpoint = endpoint.connect_timeout(CONNECT).http2_keep_alive_interval(SILENCE).keep_alive_while_idle(true);
    Ok((address.to_owned(), endpoint))
}

struct Copy {
    store: FileStore,
    /// Who waits for the first map.
    first: Option<oneshot::Sender<()>>,
    /// What was said last of each address: it is said once, not each second.
    said: BTreeMap<String, String>,
}

impl Copy {
    async fn run(mut self, endpoints: Vec<(String, Endpoint)>) {
        loop {
            for (at, (address, endpoint)) in endpoints.iter().enumerate() {
                let stream = self.stream(address, endpoint);
                let ended = if at == 0 { Ok(stream.await) } else { timeout(BACK, stream).await };
                match ended {
                    Ok(Err(trouble)) => self.say(address, trouble),
                    // One that is not preferred may be a copy of this very copy: the others are asked anew.
                    Ok(Ok(())) | Err(_) => break,
                }
            }
            sleep(PAUSE).await;
        }
    }

    fn say(&mut self, address: &str, trouble: String) {
        if self.said.get(address) != Some(&trouble) {
            tracing::warn!(trouble, waiting = self.first.is_some(), "the cell map is not kept up to date");
            self.said.insert(address.to_owned(), trouble);
        }
    }

    /// Takes what one process tells, until it tells no more.
    async fn stream(&mut self, address: &str, endpoint: &Endpoint) -> Result<(), String> {
        let connected = timeout(CONNECT, endpoint.connect()).await;
        let channel = connected.map_err(|_| format!("{address} does not answer"))?;
        let channel = channel.map_err(|error| format!("{address}: {error}"))?;
        let mut client = MapServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE);
        let known = self.look().await;
        let request = WatchMapRequest {
            known_epoch: known.as_ref().map_or(0, |map| map.epoch().get()),
            known_incarnation: known.as_ref().map_or(0, |map| map.incarnation().get()),
        };
        let refused = |status: tonic::Status| format!("{address}: {:?}: {}", status.code(), status.message());
        let opened = timeout(CONNECT, client.watch_map(request)).await;
        let opened = opened.map_err(|_| format!("{address} does not answer"))?;
        let mut stream = opened.map_err(refused)?.into_inner();
        tracing::info!(address, "the cell map is copied");
        self.said.clear();
        loop {
            let message = timeout(SILENCE, stream.message()).await;
            let message = message.map_err(|_| format!("{address} fell silent"))?.map_err(refused)?;
            let Some(message) = message else { return Err(format!("{address} ended the stream")) };
            let Some(map) = message.map else { continue };
            let map = CellMap::try_from(map).map_err(|error| format!("{address} sent no valid map: {error}"))?;
            self.take(map).await.map_err(|error| format!("the map of {address}: {error}"))?;
        }
    }

    async fn take(&mut self, map: CellMap) -> Result<(), StoreError> {
        let store = self.store.clone();
        let taken = spawn_blocking(move || store.copy(&map)).await;
        let admission = taken.map_err(|_| StoreError::ShuttingDown)??;
        if let Admission::Refused(error) = admission {
            return Err(error.into());
        }
        self.there();
        Ok(())
    }

    /// The map in the file.
    async fn look(&mut self) -> Option<CellMap> {
        let store = self.store.clone();
        let map = spawn_blocking(move || store.load().or_else(|_| store.restore()).ok()).await.ok().flatten();
        if map.is_some() {
            self.there();
        }
        map
    }

    fn there(&mut self) {
        if let Some(first) = self.first.take() {
            // Nobody waits any more: that is fine, too.
            let _ = first.send(());
        }
    }
}
