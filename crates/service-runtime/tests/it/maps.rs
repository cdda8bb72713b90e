//! A map that is copied from other processes.

use cell_map::{Cell, CellMap, Incarnation, MapDraft};
use map_store::{FileStore, MapWatch};
use mesh_proto::control_v1::map_service_server::MapServiceServer;
use service_runtime::{Maps, config::MapConfig};
use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

const SOON: Duration = Duration::from_secs(20);

fn first(incarnation: u64) -> CellMap {
    let mut draft = MapDraft::new(Incarnation::new(incarnation));
    draft.add_cell(Cell::new("bj-1".parse().unwrap(), "beijing".parse().unwrap())).unwrap();
    draft.set_global_cell(&"bj-1".parse().unwrap()).spread_buckets().unwrap();
    draft.build().unwrap()
}

/// A process that has the map.
fn serve(address: SocketAddr, map: &CellMap) -> (watch::Sender<Arc<CellMap>>, JoinHandle<()>) {
    let (maps, told) = watch::channel(Arc::new(map.clone()));
    let server = tonic::transport::Server::builder()
        .add_service(MapServiceServer::new(Maps::new(told, CancellationToken::new())));
    (maps, tokio::spawn(async move { server.serve(address).await.unwrap() }))
}

fn config(file: &Path, upstream: &[SocketAddr]) -> MapConfig {
    let mut config = MapConfig::default();
    (config.file, config.upstream) = (file.to_owned(), upstream.iter().map(ToString::to_string).collect());
    config
}

async fn epoch(map: &MapWatch, epoch: u64) {
    let there = async { map.subscribe().wait_for(|map| map.epoch().get() >= epoch).await.map(drop) };
    timeout(SOON, there).await.expect("the newer map comes").unwrap();
    assert_eq!(map.load().epoch().get(), epoch);
}

#[tokio::test]
async fn the_map_is_copied_and_kept_and_goes_on_without_its_origin() {
    let folder = tempfile::tempdir().unwrap();
    let (file, address) = (folder.path().join("map.pb"), testkit::ports::free().unwrap());
    let one = first(1);
    let two = one.next().build().unwrap();

    // Nobody has a map yet: a process that starts waits for it.
    let (settings, started) = (config(&file, &[address]), sleep(Duration::from_millis(300)));
    let start = tokio::spawn(async move { service_runtime::maps(&settings).await });
    started.await;
    assert!(!start.is_finished(), "there is no map to start with");
    let (maps, server) = serve(address, &one);
    let map = timeout(SOON, start).await.expect("it starts").unwrap().unwrap();
    assert_eq!(map.load().epoch().get(), 1);

    maps.send_replace(Arc::new(two.clone()));
    epoch(&map, 2).await;
    // What a consumer would not take is not taken here either.
    maps.send_replace(Arc::new(one.clone()));
    maps.send_replace(Arc::new(first(9)));
    sleep(Duration::from_millis(1200)).await;
    assert_eq!((map.load().epoch().get(), map.load().incarnation().get()), (2, 1));

    // Its origin is gone: a process starts with what was kept, and takes the next version when it comes back.
    server.abort();
    drop(map);
    let settings = config(&file, &[address]);
    let map = timeout(SOON, service_runtime::maps(&settings)).await.expect("at once").unwrap();
    assert_eq!(map.load().epoch().get(), 2);
    let (_maps, server) = serve(address, &two.next().build().unwrap());
    epoch(&map, 3).await;
    assert_eq!(FileStore::open(&file).load().unwrap().epoch().get(), 3);
    server.abort();
}

#[tokio::test]
async fn another_upstream_answers_when_the_preferred_one_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let (nobody, address) = (testkit::ports::free().unwrap(), testkit::ports::free().unwrap());
    let (_maps, server) = serve(address, &first(1));
    let settings = config(&folder.path().join("map.pb"), &[nobody, address]);
    let map = timeout(SOON, service_runtime::maps(&settings)).await.expect("it starts").unwrap();
    assert_eq!(map.load().epoch().get(), 1);
    server.abort();
}

#[tokio::test]
async fn what_is_no_address_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = config(&folder.path().join("map.pb"), &[]);
    settings.upstream = vec!["nonsense".to_owned()];
    let error = service_runtime::maps(&settings).await.expect_err("it is wrong").to_string();
    assert!(error.contains("map.upstream") && error.contains("nonsense"), "{error}");
}
