//! What clients that route by themselves are told.

use crate::support::*;
use cell_router::config::Instance;
use mesh_proto::control_v1::{
    CellInstances, WatchMeshRequest, WatchMeshResponse, control_service_client::ControlServiceClient,
};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::time::timeout;
use tonic::Streaming;

fn at(front: &str) -> Instance {
    Instance { front: Some(front.to_owned()), ..Instance::new("127.0.0.1:1") }
}

async fn watch(router: &Started, request: WatchMeshRequest) -> Streaming<WatchMeshResponse> {
    let url = format!("http://{}", router.front());
    ControlServiceClient::connect(url).await.unwrap().watch_mesh(request).await.unwrap().into_inner()
}

async fn next(stream: &mut Streaming<WatchMeshResponse>) -> WatchMeshResponse {
    let message = timeout(Duration::from_secs(5), stream.message()).await.expect("a message at least every second");
    message.unwrap().expect("the stream goes on")
}

/// What is told of a cell, as soon as it has instances.
async fn told(stream: &mut Streaming<WatchMeshResponse>, cell: &str) -> CellInstances {
    let until = async {
        loop {
            let Some(instances) = next(stream).await.instances else { continue };
            let found = instances.cells.into_iter().find(|told| told.cell == cell && !told.instances.is_empty());
            if let Some(found) = found {
                return found;
            }
        }
    };
    timeout(Duration::from_secs(20), until).await.expect("the cell's instances are told")
}

/// A router of cell `b` whose instance announces `front`.
async fn router_b(front: &str) -> Started {
    let mut config = config("b", &[], &[]);
    config.router.instances = vec![at(front)];
    start_with(config, map()).await
}

async fn router_a(peer: SocketAddr, front: Option<&str>) -> Started {
    let mut config = config("a", &[], &[("b", peer)]);
    config.router.instances = vec![at("10.0.0.1:9"), Instance::new("127.0.0.1:2")];
    config.peers.fronts.extend(front.map(|front| ("b".to_owned(), front.to_owned())));
    start_with(config, map()).await
}

#[tokio::test]
async fn clients_learn_the_map_and_the_instances_of_all_cells_from_any_router() {
    let b = router_b("10.0.0.2:9").await;
    let a = router_a(b.peer(), None).await;
    let mut stream = watch(&a, WatchMeshRequest::default()).await;
    let first = next(&mut stream).await;
    assert_eq!((first.map.expect("the map").epoch, &*first.cell), (1, "a"));
    assert!(first.restrictions.is_some_and(|none| none.logics.is_empty() && none.methods.is_empty()));
    let own =
        first.instances.expect("instances").cells.into_iter().find(|told| told.cell == "a").expect("its own cell");
    assert_eq!(own.instances.len(), 1, "one of them says where clients reach it");
    assert_eq!(own.instances[0].address, "10.0.0.1:9");
    assert!(own.instances[0].services.iter().any(|service| service == "warehouse.v1.Shelf"));

    let mut other = watch(&a, WatchMeshRequest { known_incarnation: 1, known_epoch: 1, ..Default::default() }).await;
    assert!(next(&mut other).await.map.is_none(), "it has this map");
    let mut third = watch(&a, WatchMeshRequest::default()).await;
    assert_eq!(told(&mut third, "b").await.instances[0].address, "10.0.0.2:9");

    a.maps.send_replace(Arc::new(map().next().build().unwrap()));
    let newer = timeout(Duration::from_secs(5), async {
        loop {
            if let Some(map) = next(&mut other).await.map {
                return map;
            }
        }
    });
    assert_eq!(newer.await.expect("the new map is told").epoch, 2);
}

#[tokio::test]
async fn a_cell_that_the_router_has_not_heard_of_is_not_told() {
    let peer = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = peer.local_addr().unwrap();
    let a = router_a(address, None).await;
    let mut stream = watch(&a, WatchMeshRequest::default()).await;
    let cells = next(&mut stream).await.instances.expect("instances").cells;
    assert_eq!(cells.iter().map(|told| &*told.cell).collect::<Vec<_>>(), ["a"], "a client keeps what it knew of b");
    // One that has none which clients reach is told: that is news.
    let b = start_with(config("b", &[], &[]), map()).await;
    let a = router_a(b.peer(), None).await;
    let mut stream = watch(&a, WatchMeshRequest::default()).await;
    let empty = timeout(Duration::from_secs(20), async {
        loop {
            let Some(instances) = next(&mut stream).await.instances else { continue };
            if let Some(told) = instances.cells.into_iter().find(|told| told.cell == "b") {
                return told;
            }
        }
    });
    assert!(empty.await.expect("b is told").instances.is_empty());
}

#[tokio::test]
async fn another_cells_services_may_be_reached_through_a_gateway() {
    let b = router_b("10.0.0.2:9").await;
    let a = router_a(b.peer(), Some("127.0.0.1:7017")).await;
    let mut stream = watch(&a, WatchMeshRequest::default()).await;
    let told = told(&mut stream, "b").await;
    assert_eq!(told.instances.len(), 1);
    assert_eq!(told.instances[0].address, "127.0.0.1:7017");
    assert!(told.instances[0].services.iter().any(|service| service == "warehouse.v1.Shelf"));
}

#[tokio::test]
async fn heartbeats_say_how_long_the_stream_is_open() {
    let a = start(&[], &[]).await;
    let mut stream = watch(&a, WatchMeshRequest { without_map: true, ..Default::default() }).await;
    let first = next(&mut stream).await;
    assert!(first.map.is_none());
    let mut elapsed = first.elapsed_ms;
    for _ in 0..2 {
        let beat = next(&mut stream).await;
        assert!(beat.instances.is_none() && beat.elapsed_ms >= elapsed);
        elapsed = beat.elapsed_ms;
    }
}

#[tokio::test]
async fn restrictions_are_told_as_their_file_changes_and_a_slip_lifts_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("restrictions.toml");
    std::fs::write(&path, "[[logics]]\nname = \"follow\"\ndisabled = true\n").unwrap();
    let mut config = config("a", &[], &[]);
    config.router.restrictions = Some(path.clone());
    let a = start_with(config, map()).await;
    let mut stream = watch(&a, WatchMeshRequest { without_map: true, ..Default::default() }).await;
    let first = next(&mut stream).await.restrictions.unwrap();
    assert!(first.logics[0].disabled);
    std::fs::write(&path, "[[logics]]\nnme = 1\n").unwrap();
    tokio::time::sleep(Duration::from_millis(1_300)).await;
    std::fs::write(&path, "[[methods]]\nmethod = \"*\"\nno_batch = true\n").unwrap();
    let changed = timeout(Duration::from_secs(10), async {
        loop {
            if let Some(told) = next(&mut stream).await.restrictions {
                return told;
            }
        }
    });
    let changed = changed.await.expect("the change is told");
    assert!(changed.logics.is_empty() && changed.methods[0].no_batch, "the file in between was not believed");
}
