//! The end of a process.

use crate::{
    notes::{MISBEHAVE, MisbehaveRequest, Notes},
    world::{World, eventually, http1},
};
use mesh_proto::control_v1::{WatchMapRequest, map_service_client::MapServiceClient};
use std::{sync::Arc, time::Duration};
use testkit::call::Caller;
use tokio::sync::Notify;
use tonic::Code;

#[tokio::test]
async fn a_drain_loses_no_call_and_takes_no_new_connection() {
    let go_on = Arc::new(Notify::new());
    let world = World::with(Notes { go_on: Arc::clone(&go_on), ..Notes::default() }, |_| {}).await;
    let (front, admin) = (world.running.bound().front, world.running.bound().admin);
    let mut caller = world.front().await;
    let wait = MisbehaveRequest { how: "wait".into(), user_id: String::new() };
    let waiting = tokio::spawn(async move { caller.message(MISBEHAVE, &wait, &[("grpc-timeout", "30S")]).await });
    world.in_flight(1).await;
    world.running.shutdown();

    // Nobody is let in any more.
    eventually(async || Caller::connect(front).await.is_err()).await;
    let (code, body) = http1(admin, "GET /readyz", "").await.expect("admin answers to the end");
    assert_eq!((code, body.trim()), (503, "waiting for: draining"));
    go_on.notify_one();
    let answer = waiting.await.unwrap().expect("a running call must not be cut");
    assert_eq!(answer.code(), Some(Code::Ok));
    world.running.wait().await.unwrap();
    assert!(http1(admin, "GET /livez", "").await.is_none());
}

#[tokio::test]
async fn a_drain_ends_when_its_grace_is_over() {
    let world = World::with(Notes::default(), |config| {
        config.drain.grace_ms = 200;
    })
    .await;
    let mut caller = world.front().await;
    let sleep = MisbehaveRequest { how: "sleep".into(), user_id: String::new() };
    let call = tokio::spawn(async move { caller.message(MISBEHAVE, &sleep, &[("grpc-timeout", "30S")]).await });
    world.in_flight(1).await;
    let began = std::time::Instant::now();
    let metrics = world.running.context().metrics.clone();
    world.end().await;
    let cut = "rpc_method=\"Misbehave\",rpc_grpc_status_code=\"CANCELLED\",listener=\"front\"} 1";
    assert!(metrics.encode().contains(cut), "a call that is cut is counted before the end: {}", metrics.encode());
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(call.await.unwrap().is_err(), "the call was cut");
}

#[tokio::test]
async fn a_drain_waits_for_nobody_who_watches_the_map() {
    let world = World::with(Notes::default(), |_| {}).await;
    let mut client = MapServiceClient::connect(format!("http://{}", world.running.bound().front)).await.unwrap();
    let mut watch = client.watch_map(WatchMapRequest::default()).await.unwrap().into_inner();
    assert!(watch.message().await.unwrap().is_some_and(|message| message.map.is_some()));
    world.running.shutdown();
    assert!(watch.message().await.expect("it is ended, not cut").is_none());
    world.running.wait().await.unwrap();
}
