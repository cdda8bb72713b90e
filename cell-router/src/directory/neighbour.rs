//! Asking one other cell's routers for its instances.

use super::Directory;
use cell_map::CellId;
use mesh_layers::trust::{Believed, PeerToken, assert_as_peer};
use mesh_proto::control_v1::{WatchMeshRequest, control_service_client::ControlServiceClient};
use std::{sync::Arc, time::Duration};
use tokio::time::{sleep, timeout};
use tonic::{Request, Status, metadata::MetadataMap, transport::Endpoint};

/// Longest silence of a stream that says something each second.
const SILENCE: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Follows one router of the cell after the other, for ever.
pub(super) async fn watch(directory: Arc<Directory>, cell: CellId, addresses: Vec<String>, token: PeerToken) {
    let mut pause = FIRST_PAUSE;
    for address in addresses.iter().cycle() {
        if let Err(status) = follow(&directory, &cell, address, &token, &mut pause).await {
            tracing::debug!(%cell, address, code = ?status.code(), why = status.message(), "instances are not watched");
        }
        // Half to all of the pause, so that routers do not come back all at once.
        sleep(pause.mul_f64(0.5 + rand::random::<f64>() / 2.0)).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn follow(
    directory: &Directory,
    cell: &CellId,
    address: &str,
    token: &PeerToken,
    pause: &mut Duration,
) -> Result<(), Status> {
    let fault = |error: tonic::transport::Error| Status::unavailable(error.to_string());
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(fault)?;
    let channel = endpoint.connect_timeout(SILENCE).tcp_nodelay(true).connect().await.map_err(fault)?;
    let as_peer = |mut request: Request<()>| {
        let mut headers = std::mem::take(request.metadata_mut()).into_headers();
        assert_as_peer(token, Believed::default(), &mut headers);
        *request.metadata_mut() = MetadataMap::from_headers(headers);
        Ok(request)
    };
    let mut client = ControlServiceClient::with_interceptor(channel, as_peer);
    // The map is of no interest here: the peer's may be older or newer than this router's, and need not be sent.
    let request = WatchMeshRequest { without_map: true, ..WatchMeshRequest::default() };
    let open = timeout(SILENCE, client.watch_mesh(request)).await;
    let mut stream = open.map_err(|_| Status::deadline_exceeded("no answer"))??.into_inner();
    loop {
        let message = timeout(SILENCE, stream.message()).await.map_err(|_| Status::deadline_exceeded("silence"))?;
        let Some(message) = message? else { return Ok(()) };
        if message.cell != cell.as_str() {
            return Err(Status::failed_precondition(format!("it is a router of cell \"{}\"", message.cell)));
        }
        *pause = FIRST_PAUSE;
        let Some(instances) = message.instances else { continue };
        if let Some(own) = instances.cells.into_iter().find(|entry| entry.cell == cell.as_str()) {
            directory.learn(cell, own.instances);
        }
    }
}
