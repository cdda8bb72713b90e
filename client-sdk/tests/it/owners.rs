//! Redirects and moves (OWN-8, OWN-9).

use crate::{
    routing::Cells,
    server::Server,
    world::{Router, Told, builder, cell, draft, epochs, mesh, ready, user},
};
use cell_map::{UserEpoch, UserKey};
use client_sdk::{Code, RetryBudget};
use mesh_layers::MeshError;
use std::{sync::Arc, time::Duration};

const NO_BUDGET: RetryBudget = RetryBudget { percent: 0, floor_per_second: 0, burst: 0 };

#[tokio::test]
async fn a_stale_map_is_cured_by_one_learnt_redirect() {
    let stale = Server::start(|asked| async move { asked.wrong_cell("c", epochs(0, 2), true) }).await;
    let owner = Server::named("c").await;
    let router = Router::start(Told::new(&[("b", &stale), ("c", &owner)])).await;
    // Redirects cost nothing of the budget.
    let (mesh, depot) = ready(builder(&router).retry_budget(NO_BUDGET)).await;
    for n in 0..5 {
        let reply = depot.put(&user("b", 0)).await.unwrap();
        assert_eq!(reply.value.text, "c", "call {n}");
    }
    assert_eq!((stale.seen().len(), owner.seen().len()), (1, 5), "the redirect is remembered");
    let b = mesh.stats().cells[&cell("b")];
    assert_eq!((b.redirects, b.resends), (1, 0));
    assert!(router.server.seen().is_empty());
}

#[tokio::test]
async fn what_may_have_been_processed_is_not_sent_again() {
    let stale = Server::start(|asked| async move { asked.wrong_cell("c", epochs(0, 2), false) }).await;
    let owner = Server::named("c").await;
    let router = Router::start(Told::new(&[("b", &stale), ("c", &owner)])).await;
    let (_mesh, depot) = mesh(&router).await;
    let error = depot.put(&user("b", 0)).await.unwrap_err();
    assert_eq!((error.code(), error.reason()), (Code::Aborted, Some("MOVED")));
    assert_eq!((error.cell(), error.attempts()), (Some(&cell("b")), 1));
    assert!(owner.seen().is_empty());
}

#[tokio::test]
async fn a_large_message_is_not_sent_again() {
    let stale = Server::start(|asked| async move { asked.wrong_cell("c", epochs(0, 2), true) }).await;
    let owner = Server::named("c").await;
    let router = Router::start(Told::new(&[("b", &stale), ("c", &owner)])).await;
    let (_mesh, depot) = mesh(&router).await;
    let large = || depot.put_text(&user("b", 0), "x".repeat(70_000));
    let error = large().await.unwrap_err();
    assert_eq!((error.code(), error.reason()), (Code::Unavailable, Some("MOVED")));
    assert_eq!(large().await.unwrap().value.text, "c", "but the redirect is learnt");
}

#[tokio::test]
async fn a_move_is_waited_out_beside_the_budget() {
    let moving = Server::start(|asked| async move {
        match asked.number {
            0..5 => asked.fail(MeshError::moving(Duration::from_millis(10)), true),
            _ => asked.echo("b"),
        }
    });
    let moving = moving.await;
    let router = Router::start(Told::new(&[("b", &moving)])).await;
    let (mesh, depot) = ready(builder(&router).retry_budget(NO_BUDGET)).await;
    let reply = depot.put(&user("b", 0)).await.unwrap();
    assert_eq!(reply.value.text, "b");
    let b = mesh.stats().cells[&cell("b")];
    assert_eq!((b.moving_waits, b.attempts, b.fallbacks), (5, 6, 0));
}

#[tokio::test]
async fn a_move_without_end_ends_at_the_deadline() {
    let moving = Server::start(|asked| async move { asked.fail(MeshError::moving(Duration::from_millis(10)), true) });
    let moving = moving.await;
    let router = Router::start(Told::new(&[("b", &moving)])).await;
    let (_mesh, depot) = mesh(&router).await;
    let error = depot.put(&user("b", 0)).deadline(Duration::from_millis(200)).await.unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded);
    assert!(moving.seen().len() > 3);
}

#[tokio::test]
async fn an_older_owner_is_not_believed_but_waited_for() {
    // It was told of nothing newer, since a front listener believes no epochs.
    let lags = Server::start(|asked| async move {
        match asked.number {
            0..3 => asked.wrong_cell("c", epochs(3, 1), true),
            _ => asked.echo("b"),
        }
    });
    let lags = lags.await;
    let older = Server::named("c").await;
    let (mut pinned, moved) = (draft(), user("c", 0));
    pinned.pin(UserKey::from_text(&moved).unwrap(), &cell("b"), UserEpoch::new(5)).unwrap();
    let told = Told { map: Some(Arc::new(pinned.build().unwrap())), ..Told::new(&[("b", &lags), ("c", &older)]) };
    let router = Router::start(told).await;
    let (mesh, depot) = mesh(&router).await;
    assert_eq!(depot.put(&moved).await.unwrap().value.text, "b");
    assert!(older.seen().is_empty(), "the older owner was asked");
    let b = mesh.stats().cells[&cell("b")];
    assert_eq!((b.moving_waits, b.redirects, b.fallbacks), (3, 0, 0));
}

#[tokio::test]
async fn after_two_misses_a_call_goes_through_the_router() {
    let b = Server::start(|asked| async move { asked.wrong_cell("c", epochs(1, 1), true) }).await;
    let c = Server::start(|asked| async move { asked.wrong_cell("a", epochs(2, 1), true) }).await;
    let a = Server::named("a").await;
    let router = Router::start(Told::new(&[("a", &a), ("b", &b), ("c", &c)])).await;
    let (mesh, depot) = mesh(&router).await;
    let reply = depot.put(&user("b", 0)).await.unwrap();
    assert_eq!(reply.value.text, "router");
    assert_eq!(mesh.stats().wire().fallbacks, 1);
    assert_eq!(depot.put(&user("b", 0)).await.unwrap().value.text, "a", "what was learnt is the better way");
}

#[tokio::test]
async fn a_new_map_overrules_what_was_learnt_before() {
    let cells = Cells::start().await;
    let (mut pinned, moved) = (draft(), user("b", 0));
    let key = || UserKey::from_text(&moved).unwrap();
    pinned.pin(key(), &cell("c"), UserEpoch::new(1)).unwrap();
    let first = Arc::new(pinned.build().unwrap());
    let mut next = first.next();
    next.pin(key(), &cell("a"), UserEpoch::new(2)).unwrap();
    let next = Arc::new(next.build().unwrap());
    cells.router.told.send_modify(|told| told.map = Some(first));
    let (_mesh, depot) = mesh(&cells.router).await;
    assert_eq!(depot.put(&moved).await.unwrap().value.text, "c");
    cells.router.told.send_modify(|told| told.map = Some(next));
    crate::world::eventually(async || depot.put(&moved).await.unwrap().value.text == "a").await;
}
