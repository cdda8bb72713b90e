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
