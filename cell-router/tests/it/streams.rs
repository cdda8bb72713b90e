//! Server streams pass untouched, at the caller's pace, and end as they should.

use crate::support::*;
use bytes::Bytes;
use h2::{Reason, client};
use http::{HeaderMap, Request, Response};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::Notify;
use tonic::Code;

#[tokio::test]
async fn all_messages_and_trailers_of_a_stream_arrive() {
    let texts: Vec<String> = (0..200).map(|n| format!("{n}-{}", "x".repeat(n * 37 % 5000))).collect();
    let expected: Vec<u8> =
        texts.iter().flat_map(|value| mesh_layers::frame::encode(&text(1, value)).to_vec()).collect();
    let sent = Arc::new(texts);
    let here = Upstream::start(move |asked| {
        let sent = Arc::clone(&sent);
        async move { asked.echo(&sent.iter().map(String::as_str).collect::<Vec<_>>()) }
    });
    let here = here.await;
    let router = start(&[&here], &[]).await;
    let answer = call(&mut router.caller().await, "Watch", &get(&text_account("a", 0)), &[]).await;
    assert_eq!(answer.code(), Some(Code::Ok));
    assert_eq!(answer.body, expected);
    assert_eq!(answer.header("cellmesh-cell"), Some("a"));
}

#[tokio::test]
async fn a_deadline_in_mid_stream_ends_it_with_its_name() {
    let here = Upstream::start(|mut asked| async move {
        let mut stream = asked.respond.send_response(Response::new(()), false).unwrap();
        let _ = stream.send_data(mesh_layers::frame::encode(&text(1, "first")), false);
        tokio::time::sleep(Duration::from_secs(30)).await;
    });
    let here = here.await;
    let router = start(&[&here], &[]).await;
    let begun = Instant::now();
    let timeout = [("grpc-timeout", "300m")];
    let answer = call(&mut router.caller().await, "Watch", &get(&text_account("a", 0)), &timeout).await;
    assert_eq!(refused(&answer), (Code::DeadlineExceeded, "DEADLINE_EXCEEDED".into()));
    assert!(!answer.body.is_empty(), "what came before was passed on");
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn streams_last_longer_than_calls_and_take_no_place_of_them() {
    let here = Upstream::start(|mut asked| async move {
        if asked.seen.message.is_empty() {
            return asked.echo(&["a call"]);
        }
        let mut stream = asked.respond.send_response(Response::new(()), false).unwrap();
        let _ = stream.send_data(mesh_layers::frame::encode(&text(1, "first")), false);
        tokio::time::sleep(Duration::from_secs(30)).await;
    });
    let here = here.await;
    let mut config = config("a", &[here.address], &[]);
    (config.limits.calls, config.limits.server_streams) = (1, 2);
    (config.limits.default_deadline_ms, config.limits.max_deadline_ms) = (200, 200);
    let router = start_with(config, map()).await;
    router.reaches(&["a"]).await;
    let watched = router.router.brain().methods.get(&format!("{SHELF}/Watch")).unwrap();
    assert_eq!(watched.max_deadline, Duration::from_secs(30), "what its policy grants");
    let mut open = vec![];
    for _ in 0..2 {
        let mut caller = router.caller().await;
        let timeout = [("grpc-timeout", "20S")];
        open.push(tokio::spawn(async move { call(&mut caller, "Watch", &get(&text_account("a", 0)), &timeout).await }));
    }
    while router.router.brain().streams.load(Ordering::Relaxed) < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut caller = router.caller().await;
    let one_more = call(&mut caller, "Watch", &get(&text_account("a", 0)), &[]).await;
    assert_eq!(refused(&one_more), (Code::ResourceExhausted, "RATE_LIMITED".into()));
    assert_eq!(echoed(&call(&mut caller, "Count", &[], &[]).await), "a call");
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert!(open.iter().all(|stream| !stream.is_finished()), "the longest deadline of calls is 200 ms");
    open.into_iter().for_each(|stream| stream.abort());
}

#[tokio::test]
async fn a_stream_that_breaks_off_ends_unavailable() {
    let here = Upstream::start(|mut asked| async move {
        let mut stream = asked.respond.send_response(Response::new(()), false).unwrap();
        let _ = stream.send_data(mesh_layers::frame::encode(&text(1, "first")), false);
        tokio::time::sleep(Duration::from_millis(50)).await;
        stream.send_reset(Reason::INTERNAL_ERROR);
    });
    let here = here.await;
    let router = start(&[&here], &[]).await;
    let answer = call(&mut router.caller().await, "Watch", &get(&text_account("a", 0)), &[]).await;
    assert_eq!(refused(&answer), (Code::Unavailable, "CELL_UNREACHABLE".into()));
}

async fn open(router: &Started, message: &[u8]) -> (client::ResponseFuture, client::SendRequest<Bytes>) {
    let mut sender = router.raw().await.ready().await.unwrap();
    let request = Request::post(format!("http://x{SHELF}/Watch")).header("content-type", "application/grpc");
    let (response, mut body) = sender.send_request(request.body(()).unwrap(), false).unwrap();
    body.send_data(mesh_layers::frame::encode(message), true).unwrap();
    (response, sender)
}

#[tokio::test]
async fn a_caller_that_goes_away_ends_the_call_behind_the_router() {
    let gone = Arc::new(Notify::new());
    let told = Arc::clone(&gone);
    let here = Upstream::start(move |mut asked| {
        let told = Arc::clone(&told);
        async move {
            let mut stream = asked.respond.send_response(Response::new(()), false).unwrap();
            let _ = stream.send_data(mesh_layers::frame::encode(&text(1, "first")), false);
            std::future::poll_fn(|cx| stream.poll_reset(cx)).await.unwrap();
            told.notify_one();
        }
    });
    let here = here.await;
    let router = start(&[&here], &[]).await;
    let (response, _sender) = open(&router, &get(&text_account("a", 0))).await;
    let mut body = response.await.unwrap().into_body();
    body.data().await.unwrap().unwrap();
    drop(body);
    tokio::time::timeout(Duration::from_secs(5), gone.notified()).await.expect("the service is told");
}

#[tokio::test]
async fn a_slow_caller_slows_the_service_down() {
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    let here = Upstream::start(move |mut asked| {
        let count = Arc::clone(&count);
        async move {
            let mut stream = asked.respond.send_response(Response::new(()), false).unwrap();
            loop {
                stream.reserve_capacity(16 * 1024);
                match std::future::poll_fn(|cx| stream.poll_capacity(cx)).await {
                    Some(Ok(room)) => {
                        let _ = stream.send_data(Bytes::from(vec![0; room]), false);
                        count.fetch_add(room, Ordering::SeqCst);
                    }
                    _ => return,
                }
            }
        }
    });
    let here = here.await;
    let router = start(&[&here], &[]).await;
    let (response, _sender) = open(&router, &get(&text_account("a", 0))).await;
    let _body = response.await.unwrap().into_body();
    tokio::time::sleep(Duration::from_millis(700)).await;
    let (before, limit) = (sent.load(Ordering::SeqCst), 2 << 20);
    assert!(before < limit, "{before} bytes were taken from the service for a caller that reads nothing");
}

#[tokio::test]
async fn a_response_without_a_message_keeps_its_trailers() {
    let here = Upstream::start(|mut asked| async move {
        let mut stream = asked.respond.send_response(Response::new(()), false).unwrap();
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "5".parse().unwrap());
        trailers.insert("x-left", "over".parse().unwrap());
        let _ = stream.send_trailers(trailers);
    });
    let here = here.await;
    let router = start(&[&here], &[]).await;
    let answer = call(&mut router.caller().await, "Get", &get(&text_account("a", 0)), &[]).await;
    assert_eq!(answer.code(), Some(Code::NotFound));
    assert_eq!(answer.trailers.get("x-left").unwrap(), "over");
}
