//! Connections and streams that break: what was seen is never done twice.

use crate::{
    server::Server,
    world::{Router, Told, builder, cell, mesh, nowhere, ready, user},
};
use client_sdk::Code;
use h2::Reason;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

#[tokio::test]
async fn what_was_never_sent_is_sent_elsewhere_whatever_it_does() {
    let router = Router::start(Told::new(&[])).await;
    let dead = nowhere().await;
    router.told.send_modify(|told| told.instances = vec![("b", dead)]);
    let (mesh, depot) = mesh(&router).await;
    // Also for ever: a client to whom the instances are out of reach is served by routers, and no budget is spent on that.
    for n in 0..300 {
        assert_eq!(depot.put(&user("b", 0)).await.unwrap().value.text, "router", "call {n}");
    }
    assert_eq!(router.server.seen().len(), 300);
    let b = mesh.stats().cells[&cell("b")];
    assert_eq!((b.calls, b.attempts, b.fallbacks, b.resends), (300, 300, 300, 0));
    assert!((1..50).contains(&b.connects_failed), "{b:?}");
}

#[tokio::test]
async fn a_refused_stream_is_sent_again_whatever_it_does() {
    let refuses = Server::start(|asked| async move {
        match asked.number {
            0 => asked.reset(Reason::REFUSED_STREAM),
            _ => asked.echo("b"),
        }
    });
    let refuses = refuses.await;
    let router = Router::start(Told::new(&[("b", &refuses)])).await;
    let (_mesh, depot) = mesh(&router).await;
    assert_eq!(depot.put(&user("b", 0)).await.unwrap().value.text, "b");
    assert_eq!(refuses.seen().len(), 2);
}

#[tokio::test]
async fn a_call_behind_a_goaway_is_sent_again_whatever_it_does() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            // SETTINGS; after the first request GOAWAY: nothing was processed.
            let _ = socket.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await;
            let mut seen = [0; 4096];
            let _ = socket.read(&mut seen).await;
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            let _ = socket.write_all(&[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).await;
            let _ = socket.read(&mut seen).await;
        }
    });
    let router = Router::start(Told::new(&[])).await;
    router.told.send_modify(|told| told.instances = vec![("b", address)]);
    let (_mesh, depot) = mesh(&router).await;
    assert_eq!(depot.put(&user("b", 0)).await.unwrap().value.text, "router");
    assert_eq!(router.server.seen().len(), 1);
}

#[tokio::test]
async fn what_may_have_been_seen_is_sent_again_only_if_it_changes_nothing() {
    for middle in [false, true] {
        let breaks = Server::start(move |asked| async move {
            match (asked.number, middle) {
                (0, false) => asked.reset(Reason::INTERNAL_ERROR),
                (0, true) => asked.break_off().await,
                _ => asked.echo("b"),
            }
        });
        let breaks = breaks.await;
        let router = Router::start(Told::new(&[("b", &breaks)])).await;
        let (mesh, depot) = mesh(&router).await;
        let error = depot.put(&user("b", 0)).await.unwrap_err();
        assert_eq!((error.code(), error.reason()), (Code::Unavailable, Some("CELL_UNREACHABLE")), "{error}");
        assert!(error.info().contains(&("processed".to_owned(), "unknown".to_owned())), "{:?}", error.info());
        assert_eq!((error.cell(), error.attempts()), (Some(&cell("b")), 1));
        assert_eq!(breaks.seen().len(), 1, "sent twice");
        assert_eq!(mesh.stats().wire().attempts, 1);
    }
    for middle in [false, true] {
        let breaks = Server::start(move |asked| async move {
            match (asked.number, middle) {
                (0, false) => asked.reset(Reason::INTERNAL_ERROR),
                (0, true) => asked.break_off().await,
                _ => asked.echo("b"),
            }
        });
        let breaks = breaks.await;
        let router = Router::start(Told::new(&[("b", &breaks)])).await;
        let (_mesh, depot) = mesh(&router).await;
        assert_eq!(depot.get(&user("b", 0)).await.unwrap().value.text, "b");
        assert_eq!(breaks.seen().len(), 2);
    }
}

#[tokio::test]
async fn a_server_that_is_killed_loses_what_it_was_doing_and_no_more() {
    let holds = Server::start(|asked| async move { asked.hold().await }).await;
    let router = Router::start(Told::new(&[("b", &holds)])).await;
    let (_mesh, depot) = mesh(&router).await;
    let running = tokio::spawn({
        let depot = depot.clone();
        async move { depot.put(&user("b", 0)).await }
    });
    crate::world::eventually(async || holds.seen().len() == 1).await;
    let address = holds.kill().await;
    assert_eq!(running.await.unwrap().unwrap_err().reason(), Some("CELL_UNREACHABLE"));
    let again = Server::start_at(address, |asked| async move { asked.echo("b") }).await;
    crate::world::eventually(async || depot.put(&user("b", 0)).await.is_ok_and(|reply| reply.value.text == "b")).await;
    assert!(!again.seen().is_empty());
}

/// More calls than one connection is for, so that another one is wanted and refused; then the one that stood breaks. Whoever
/// sees that must try the address again, though nobody calls it.
#[tokio::test]
async fn an_address_whose_last_connection_breaks_while_another_is_refused_is_tried_again() {
    let holds = Server::start(|asked| async move { asked.hold().await }).await;
    let router = Router::start(Told::new(&[("b", &holds)])).await;
    let (_mesh, depot) = mesh(&router).await;
    let mut running = tokio::task::JoinSet::new();
    for n in 0..20 {
        let depot = depot.clone();
        running.spawn(async move { depot.put(&user("b", n)).await });
        crate::world::eventually(async || holds.seen().len() > n).await;
        if n == 0 {
            holds.close().await;
        }
    }
    let address = holds.kill().await;
    while let Some(call) = running.join_next().await {
        assert_eq!(call.unwrap().unwrap_err().reason(), Some("CELL_UNREACHABLE"));
    }
    assert_eq!(depot.put(&user("b", 0)).await.unwrap().value.text, "router", "it is down");
    let _again = Server::start_at(address, |asked| async move { asked.echo("b") }).await;
    crate::world::eventually(async || depot.put(&user("b", 0)).await.is_ok_and(|reply| reply.value.text == "b")).await;
}

#[tokio::test]
async fn a_connection_that_answers_no_ping_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut silent = Vec::new();
        while let Ok((socket, _)) = listener.accept().await {
            silent.push(socket);
        }
    });
    let router = Router::start(Told::new(&[])).await;
    router.told.send_modify(|told| told.instances = vec![("b", address)]);
    let often = std::time::Duration::from_millis(100);
    let (_mesh, depot) = ready(builder(&router).keep_alive(Some(often), often)).await;
    let error = crate::world::within(depot.put(&user("b", 0)).into_future()).await.unwrap_err();
    assert_eq!((error.reason(), error.attempts()), (Some("CELL_UNREACHABLE"), 1), "it may have been seen");
    assert_eq!(crate::world::within(depot.get(&user("b", 0)).into_future()).await.unwrap().value.text, "router");
}

#[tokio::test]
async fn a_caller_that_gives_up_cancels_the_call() {
    let (gone, mut cancelled) = tokio::sync::mpsc::unbounded_channel();
    let holds = Server::start(move |mut asked| {
        let gone = gone.clone();
        async move {
            let reason = std::future::poll_fn(|cx| asked.respond.poll_reset(cx)).await;
            let _ = gone.send(reason.ok());
        }
    });
    let holds = holds.await;
    let router = Router::start(Told::new(&[("b", &holds)])).await;
    let (_mesh, depot) = mesh(&router).await;
    let user = user("b", 0);
    let call = depot.put(&user).into_future();
    let _ = tokio::time::timeout(std::time::Duration::from_millis(50), call).await.unwrap_err();
    assert_eq!(crate::world::within(cancelled.recv()).await, Some(Some(Reason::CANCEL)));
}

#[tokio::test]
async fn empty_frames_of_a_server_end_no_connection() {
    let chatty = Server::start(|asked| async move {
        let head = asked.head();
        let message = mesh_layers::frame::encode(&crate::server::echo("b"));
        asked.answer(head, &[bytes::Bytes::new(), message, bytes::Bytes::new()], "0");
    });
    let chatty = chatty.await;
    let router = Router::start(Told::new(&[("b", &chatty)])).await;
    let (_mesh, depot) = mesh(&router).await;
    for n in 0..300 {
        assert_eq!(depot.put(&user("b", 0)).await.unwrap().value.text, "b", "call {n}");
    }
    assert_eq!(chatty.connections(), 1);
}
