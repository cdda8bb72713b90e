//! Calls at once.

use crate::{
    server::Server,
    world::{Router, Told, builder, eventually, ready, user},
};
use std::{collections::HashSet, sync::Arc};
use tokio::sync::Semaphore;

#[tokio::test]
async fn calls_at_once_spread_over_connections_and_further_ones_wait() {
    let gate = Arc::new(Semaphore::new(0));
    let held = Server::start({
        let gate = Arc::clone(&gate);
        move |asked| {
            let gate = Arc::clone(&gate);
            async move {
                gate.acquire().await.unwrap().forget();
                asked.echo("b");
            }
        }
    });
    let held = held.await;
    let router = Router::start(Told::new(&[("b", &held)])).await;
    let (_mesh, depot) = ready(builder(&router).connections(3).calls_per_connection(20)).await;
    let user = user("b", 0);
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..70 {
        let (depot, user) = (depot.clone(), user.clone());
        calls.spawn(async move { depot.put(&user).await });
    }
    eventually(async || held.seen().len() >= 60).await;
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    let seen = held.seen();
    let used: HashSet<usize> = seen.iter().map(|seen| seen.connection).collect();
    assert_eq!((seen.len(), used.len()), (60, 3), "at most 20 calls on each of 3 connections");
    gate.add_permits(70);
    while let Some(call) = calls.join_next().await {
        assert_eq!(call.unwrap().unwrap().value.text, "b");
    }
    assert_eq!((held.seen().len(), held.connections()), (70, 3));
}

#[tokio::test]
async fn calls_one_after_another_share_a_connection() {
    let b = Server::named("b").await;
    let router = Router::start(Told::new(&[("b", &b)])).await;
    let (mesh, depot) = ready(builder(&router)).await;
    for _ in 0..100 {
        depot.put(&user("b", 0)).await.unwrap();
    }
    assert_eq!(b.connections(), 1);
    assert_eq!(mesh.stats().wire().connects, 2, "one to the instance, one to the router");
}
