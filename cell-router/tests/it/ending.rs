//! Drain.

use crate::support::*;
use mesh_proto::control_v1::{
    WatchMapRequest, WatchMeshRequest, control_service_client::ControlServiceClient,
    map_service_client::MapServiceClient,
};
use std::time::{Duration, Instant};
use testkit::call::Caller;
use tonic::{Code, transport::Channel};

#[tokio::test]
async fn running_calls_end_and_new_connections_are_refused() {
    let here = Upstream::start(|asked| async move {
        tokio::time::sleep(Duration::from_millis(500)).await;
        asked.echo(&["late"]);
    });
    let here = here.await;
    let router = start(&[&here], &[]).await;
    let (front, mut caller) = (router.front(), router.caller().await);
    let running = tokio::spawn(async move { call(&mut caller, "Count", &[], &[]).await });
    while here.seen().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(router.router.drain(Duration::from_secs(10)).await, "nothing is cut off");
    assert_eq!(echoed(&running.await.unwrap()), "late");
    assert!(Caller::connect(front).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn the_grace_bounds_the_drain() {
    let here = Upstream::silent().await;
    let router = start(&[&here], &[]).await;
    let mut caller = router.caller().await;
    let running = tokio::spawn(async move { caller.unary(&format!("{SHELF}/Count"), &[], &[]).await });
    while here.seen().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let begun = Instant::now();
    assert!(!router.router.drain(Duration::from_millis(300)).await, "a call was cut off");
    assert!(begun.elapsed() < Duration::from_secs(3));
    assert!(running.await.unwrap().is_err());
}

#[tokio::test]
async fn several_workers_share_a_port() {
    let here = Upstream::named("a").await;
    let mut config = config("a", &[here.address], &[]);
    config.router.workers = 3;
    let router = start_with(config, map()).await;
    router.reaches(&["a"]).await;
    // The first connections may meet a worker that is still connecting.
    tokio::time::sleep(Duration::from_millis(300)).await;
    for _ in 0..20 {
        let answer = call(&mut router.caller().await, "Count", &[], &[]).await;
        assert_eq!(answer.code(), Some(Code::Ok), "{:?}", answer.status());
    }
    assert!(router.router.drain(Duration::from_secs(5)).await);
}

#[tokio::test]
async fn a_drain_waits_for_nobody_who_watches() {
    let here = Upstream::named("a").await;
    let router = start(&[&here], &[]).await;
    let channel = Channel::from_shared(format!("http://{}", router.front())).unwrap().connect().await.unwrap();
    let maps = MapServiceClient::new(channel.clone()).watch_map(WatchMapRequest::default()).await.unwrap();
    let mesh = ControlServiceClient::new(channel).watch_mesh(WatchMeshRequest::default()).await.unwrap();
    let (mut maps, mut mesh) = (maps.into_inner(), mesh.into_inner());
    assert!(maps.message().await.unwrap().is_some() && mesh.message().await.unwrap().is_some());
    assert!(router.router.drain(Duration::from_secs(60)).await, "nothing was cut off");
    while mesh.message().await.expect("it is ended, not cut").is_some() {}
    while maps.message().await.expect("it is ended, not cut").is_some() {}
}
