//! Lost connections: what is safe is sent again, what is not ends with a named error.

use crate::support::*;
use h2::Reason;
use http::{HeaderMap, Response};
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};
use tokio::net::TcpListener;
use tonic::Code;

#[tokio::test]
async fn a_refused_stream_is_sent_again() {
    let here = Upstream::start(|mut asked| async move {
        match asked.number % 2 {
            0 => asked.respond.send_reset(Reason::REFUSED_STREAM),
            _ => asked.echo(&["second"]),
        }
    });
    let here = here.await;
    let router = start(&[&here], &[]).await;
    let mut caller = router.caller().await;
    for _ in 0..5 {
        assert_eq!(echoed(&call(&mut caller, "Put", &put(account("a", 0)), &[]).await), "second");
    }
    assert_eq!(here.seen().len(), 10);
}

#[tokio::test]
async fn a_broken_stream_is_repeated_only_without_side_effects() {
    let here = Upstream::start(|mut asked| async move {
        match asked.number {
            0 | 2 => asked.respond.send_reset(Reason::INTERNAL_ERROR),
            _ => asked.echo(&["second"]),
        }
    });
    let here = here.await;
    let router = start(&[&here], &[]).await;
    let mut caller = router.caller().await;
    assert_eq!(echoed(&call(&mut caller, "Get", &get(&text_account("a", 0)), &[]).await), "second");
    let answer = call(&mut caller, "Put", &put(account("a", 0)), &[]).await;
    assert_eq!(refused(&answer), (Code::Unavailable, "CELL_UNREACHABLE".into()));
    assert_eq!(answer.error_info().unwrap().metadata["processed"], "unknown");
    assert_eq!(here.seen().len(), 3);
}

/// A server whose every connection says GOAWAY after its `calls`th call, which it answers.
async fn goes_away(calls: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                let mut served = 0;
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    served += 1;
                    let mut stream = respond.send_response(Response::new(()), false).unwrap();
                    stream.send_data(mesh_layers::frame::encode(&text(1, "ok")), false).unwrap();
                    stream
                        .send_trailers(HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]))
                        .unwrap();
                    if served == calls {
                        connection.graceful_shutdown();
                    }
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn no_call_is_lost_to_graceful_goaways() {
    let router = start_with(config("a", &[goes_away(7).await], &[]), map()).await;
    router.reaches(&["a"]).await;
    let mut callers = Vec::new();
    for _ in 0..4 {
        let mut caller = router.caller().await;
        callers.push(tokio::spawn(async move {
            for _ in 0..100 {
                assert_eq!(echoed(&call(&mut caller, "Put", &put(account("a", 0)), &[]).await), "ok");
            }
        }));
    }
    for caller in callers {
        caller.await.unwrap();
    }
}

#[tokio::test]
async fn a_killed_instance_costs_what_was_in_flight_and_is_found_again() {
    let here = Upstream::start(|asked| async move {
        if asked.seen.message.len() > 100 {
            tokio::time::sleep(Duration::from_secs(20)).await;
        }
        asked.echo(&["ok"]);
    });
    let here = here.await;
    let router = start(&[&here], &[]).await;
    let mut caller = router.caller().await;
    let slow = [put(account("a", 0)), text(15, &"x".repeat(200))].concat();
    let mut other = router.caller().await;
    let in_flight = tokio::spawn(async move { call(&mut other, "Put", &slow, &[]).await });
    while here.seen().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let address = here.kill().await;
    assert_eq!(refused(&in_flight.await.unwrap()), (Code::Unavailable, "CELL_UNREACHABLE".into()));
    let answer = call(&mut caller, "Put", &put(account("a", 0)), &[]).await;
    assert_eq!(refused(&answer), (Code::Unavailable, "CELL_UNREACHABLE".into()));
    let _again = Upstream::start_at(address, |asked| async move { asked.echo(&["again"]) }).await;
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let answer = call(&mut caller, "Put", &put(account("a", 0)), &[]).await;
        if answer.code() == Some(Code::Ok) {
            assert_eq!(echoed(&answer), "again");
            break;
        }
        assert!(Instant::now() < deadline, "the instance is not found again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn calls_go_to_the_instance_that_lives() {
    let (one, two) = (Upstream::named("one").await, Upstream::named("two").await);
    let router = start(&[&one, &two], &[]).await;
    let mut caller = router.caller().await;
    let deadline = Instant::now() + Duration::from_secs(10);
    while one.seen().is_empty() || two.seen().is_empty() {
        assert!(Instant::now() < deadline, "one instance gets everything");
        call(&mut caller, "Count", &[], &[]).await;
    }
    one.kill().await;
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut in_a_row = 0;
    while in_a_row < 50 {
        let answer = call(&mut caller, "Count", &[], &[]).await;
        in_a_row = if answer.code() == Some(Code::Ok) { in_a_row + 1 } else { 0 };
        assert!(Instant::now() < deadline, "calls still fail");
    }
}

#[tokio::test]
async fn empty_data_frames_of_a_service_cost_nobody_a_call() {
    let here = Upstream::start(|mut asked| async move {
        let mut stream = asked.respond.send_response(Response::new(()), false).unwrap();
        let _ = stream.send_data(bytes::Bytes::new(), false);
        let _ = stream.send_data(mesh_layers::frame::encode(&text(1, "ok")), false);
        let _ = stream.send_data(bytes::Bytes::new(), false);
        let _ = stream.send_trailers(HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]));
    });
    let here = here.await;
    let router = start(&[&here], &[]).await;
    let mut caller = router.caller().await;
    // h2 would end a connection at the 101st such frame: two connections would last for 100 calls.
    for n in 0..600 {
        let answer = call(&mut caller, "Put", &put(account("a", 0)), &[]).await;
        assert_eq!(answer.code(), Some(Code::Ok), "call {n}: {:?}", answer.status());
    }
}

#[tokio::test]
async fn calls_wait_for_an_instance_that_is_replaced_where_they_are_told_to() {
    let here = Upstream::named("old").await;
    let mut config = config("a", &[here.address], &[]);
    config.router.wait_for_instances_ms = 8000;
    let router = start_with(config, map()).await;
    router.reaches(&["a"]).await;
    let address = here.kill().await;
    // What is sent before the router hears of it may have been processed.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..20 {
        // Half of them come through another cell's router.
        let mut caller = if n % 2 == 0 { router.caller().await } else { router.peer_caller().await };
        let extra = [("grpc-timeout", "10S"), ("cellmesh-peer-token", TOKEN), ("cellmesh-hops", "1")];
        let extra = if n % 2 == 0 { extra[..1].to_vec() } else { extra.to_vec() };
        calls.spawn(async move { call(&mut caller, "Put", &put(account("a", n)), &extra).await });
    }
    tokio::time::sleep(Duration::from_millis(1500)).await;
    if let Some(early) = calls.try_join_next() {
        panic!("it did not wait: {:?}", early.unwrap().status());
    }
    let again = Upstream::start_at(address, |asked| async move { asked.echo(&["new"]) }).await;
    while let Some(answer) = calls.join_next().await {
        assert_eq!(echoed(&answer.unwrap()), "new");
    }
    assert_eq!(again.seen().len(), 20, "each was sent once");

    // Not longer than they were told to, nor than their deadline.
    let address = again.kill().await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let mut caller = router.caller().await;
    let began = Instant::now();
    let answer = call(&mut caller, "Put", &put(account("a", 0)), &[("grpc-timeout", "500m")]).await;
    assert!(matches!(answer.code(), Some(Code::Unavailable | Code::DeadlineExceeded)), "{:?}", answer.status());
    assert!(began.elapsed() < Duration::from_secs(4));
    let quick = start_with(crate::support::config("a", &[address], &[]), map()).await;
    let answer = call(&mut quick.caller().await, "Put", &put(account("a", 0)), &[("grpc-timeout", "10S")]).await;
    assert_eq!(refused(&answer), (Code::Unavailable, "CELL_UNREACHABLE".into()));
}
