//! One cell down.

use crate::{
    depot::Depot,
    server::Server,
    world::{Router, Told, cell, eventually, mesh, user},
};
use client_sdk::{Code, Mesh};
use mesh_layers::MeshError;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

const CALLS: u64 = 3_000;

/// Calls of many callers at once; how they failed.
async fn load(depot: &Depot, home: &str) -> Vec<client_sdk::Error> {
    let mut callers = tokio::task::JoinSet::new();
    for n in 0..10 {
        let (depot, user) = (depot.clone(), user(home, n));
        callers.spawn(async move {
            let mut errors = Vec::new();
            for _ in 0..CALLS / 10 {
                errors.extend(depot.get(&user).await.err());
            }
            errors
        });
    }
    let mut errors = Vec::new();
    while let Some(more) = callers.join_next().await {
        errors.extend(more.unwrap());
    }
    errors
}

fn attempts(mesh: &Mesh) -> (u64, u64) {
    let b = mesh.stats().cells[&cell("b")];
    (b.calls, b.attempts)
}

/// A router whose way to cell `b` is down, too.
async fn router(told: Told) -> Router {
    Router::with(told, |asked| async move {
        asked.with("cellmesh-cell", "a").fail(MeshError::cell_unreachable(&cell("b")), false);
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_cell_costs_few_calls_and_harms_no_other() {
    let (b, c) = (Server::named("b").await, Server::named("c").await);
    let router = router(Told::new(&[("b", &b), ("c", &c)])).await;
    let (mesh, depot) = mesh(&router).await;
    assert!(load(&depot, "b").await.is_empty());
    let address = b.kill().await;
    let before = attempts(&mesh);
    let errors = load(&depot, "b").await;
    let after = attempts(&mesh);
    let (calls, sent) = (after.0 - before.0, after.1 - before.1);
    println!("figure: attempts in an outage N={calls} attempts={sent}");
    assert_eq!(errors.len() as u64, calls);
    for error in &errors {
        assert_eq!((error.code(), error.reason()), (Code::Unavailable, Some("CELL_UNREACHABLE")));
        assert_eq!(error.cell(), Some(&cell("b")), "the cell is named");
    }
    assert!(sent * 10 <= calls * 11, "{sent} attempts for {calls} calls");
    let failed = mesh.stats().cells[&cell("b")].connects_failed;
    assert!(failed <= 50, "{failed} connections were tried");
    assert!(load(&depot, "c").await.is_empty(), "others notice nothing");

    let _back = Server::start_at(address, |asked| async move { asked.echo("b") }).await;
    let began = Instant::now();
    eventually(async || depot.get(&user("b", 0)).await.is_ok()).await;
    let took = began.elapsed();
    println!("figure: recovery after an outage N=1 took={took:?}");
    assert!(took <= Duration::from_secs(2), "recovered after {took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_of_nobody_come_back_to_the_near_cell_however_long_it_was_away() {
    let (a, b) = (Server::named("a").await, Server::named("b").await);
    let router = router(Told::new(&[("a", &a), ("b", &b)])).await;
    let (mesh, depot) = mesh(&router).await;
    let near = async || depot.count().await.is_ok_and(|reply| reply.value.text == "a");
    assert!(near().await);
    let address = a.kill().await;
    // Longer than an address is tried for which nobody asks.
    let (began, mut probes) = (Instant::now(), 0);
    let failed = |mesh: &Mesh| mesh.stats().cells[&cell("a")].connects_failed;
    while began.elapsed() < Duration::from_secs(13) {
        if probes == 0 && began.elapsed() > Duration::from_secs(8) {
            probes = failed(&mesh);
        }
        assert!(!near().await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let probes = failed(&mesh) - probes;
    let _back = Server::start_at(address, |asked| async move { asked.with("cellmesh-cell", "a").echo("a") }).await;
    let began = Instant::now();
    eventually(near).await;
    let took = began.elapsed();
    println!("figure: return to the near cell N=1 took={took:?} probes={probes} in 5 s");
    assert!(took <= Duration::from_secs(2), "returned after {took:?}");
    assert!(probes <= 7, "{probes} probes in 5 s");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cell_that_breaks_every_call_is_not_buried_in_retries() {
    let sick = Arc::new(AtomicBool::new(false));
    let b = Server::start({
        let sick = Arc::clone(&sick);
        move |asked| {
            let sick = sick.load(Ordering::Relaxed);
            async move {
                match sick {
                    true => asked.reset(h2::Reason::INTERNAL_ERROR),
                    false => asked.echo("b"),
                }
            }
        }
    });
    let b = b.await;
    let router = router(Told::new(&[("b", &b)])).await;
    let (mesh, depot) = mesh(&router).await;
    assert!(load(&depot, "b").await.is_empty());
    sick.store(true, Ordering::Relaxed);
    let before = (attempts(&mesh), b.seen().len());
    let errors = load(&depot, "b").await;
    let (after, seen) = (attempts(&mesh), b.seen().len() - before.1);
    let (calls, sent) = (after.0 - before.0.0, after.1 - before.0.1);
    println!("figure: attempts at a sick cell N={calls} attempts={sent} seen={seen}");
    assert_eq!(errors.len() as u64, calls);
    assert!(sent * 10 <= calls * 11, "{sent} attempts for {calls} calls");
    assert!(seen as u64 * 10 <= calls * 11, "{seen} seen of {calls} calls");
    assert!(mesh.stats().cells[&cell("b")].budget_exhausted > 0);
    sick.store(false, Ordering::Relaxed);
    assert!(load(&depot, "b").await.is_empty(), "it is well again at once");
}
