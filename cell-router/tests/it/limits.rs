//! Early rejection and abuse.

use crate::support::*;
use bytes::{BufMut, Bytes, BytesMut};
use flate2::{Compression, write::GzEncoder};
use http::{Method, Response, StatusCode};
use mesh_layers::MeshError;
use std::{
    io::Write,
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};
use testkit::{
    abuse::{self, Abuse},
    call::{Caller, frame},
};
use tonic::Code;

fn framed(flag: u8, promised: usize, message: &[u8]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(flag);
    out.put_u32(promised as u32);
    out.put_slice(message);
    out.freeze()
}

fn gzip(message: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(message).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn every_bad_request_has_its_name() {
    let here = Upstream::named("a").await;
    let router = start(&[&here], &[]).await;
    let mut caller = router.caller().await;
    let good = put(account("a", 0));
    let path = format!("{SHELF}/Put");
    let post = |body: Bytes, extra: &'static [(&'static str, &'static str)]| (Method::POST, path.clone(), body, extra);
    let bomb = gzip(&vec![0; 10_000_000]);
    let cases = [
        (post(Bytes::new(), &[]), Code::Unimplemented, "BAD_REQUEST"),
        (post([frame(&good), frame(&good)].concat().into(), &[]), Code::Unimplemented, "BAD_REQUEST"),
        (post(framed(0, good.len() + 9, &good), &[]), Code::Internal, "BAD_REQUEST"),
        (post(framed(7, good.len(), &good), &[]), Code::Internal, "BAD_REQUEST"),
        (post(framed(0, 200_001, &good), &[]), Code::ResourceExhausted, "MESSAGE_TOO_LARGE"),
        (post(framed(1, good.len(), &good), &[]), Code::Internal, "BAD_REQUEST"),
        (
            post(framed(1, bomb.len(), &bomb), &[("grpc-encoding", "gzip")]),
            Code::ResourceExhausted,
            "MESSAGE_TOO_LARGE",
        ),
        (post(frame(&good), &[("grpc-encoding", "snappy")]), Code::Unimplemented, "BAD_REQUEST"),
        (post(frame(&[0xff, 0xff, 0xff]), &[]), Code::InvalidArgument, "BAD_REQUEST"),
        (post(frame(&[]), &[]), Code::InvalidArgument, "BAD_REQUEST"),
        (post(frame(&put(0)), &[]), Code::InvalidArgument, "BAD_REQUEST"),
        (post(frame(&good), &[("grpc-timeout", "1x")]), Code::InvalidArgument, "BAD_REQUEST"),
        (post(frame(&good), &[("grpc-timeout", "123456789m")]), Code::InvalidArgument, "BAD_REQUEST"),
        (post(frame(&good), &[("grpc-timeout", "0m")]), Code::DeadlineExceeded, "DEADLINE_EXCEEDED"),
        (post(frame(&good), &[("some-bin", "*")]), Code::InvalidArgument, "BAD_REQUEST"),
        (post(frame(&good), &[("x-note", "caf\u{e9}")]), Code::InvalidArgument, "BAD_REQUEST"),
        (post(frame(&good), &[("cellmesh-user", "1"), ("cellmesh-user", "2")]), Code::InvalidArgument, "BAD_REQUEST"),
        (post(frame(&good), &[("content-type", "text/plain")]), Code::InvalidArgument, "BAD_REQUEST"),
        ((Method::GET, path.clone(), Bytes::new(), &[]), Code::Internal, "BAD_REQUEST"),
        ((Method::POST, format!("{SHELF}/Stray"), frame(&[]), &[]), Code::Unimplemented, "METHOD_UNKNOWN"),
        ((Method::POST, format!("{SHELF}/Nothing"), frame(&[]), &[]), Code::Unimplemented, "METHOD_UNKNOWN"),
        ((Method::POST, format!("{SHELF}/Upload"), frame(&[]), &[]), Code::Unimplemented, "METHOD_UNKNOWN"),
    ];
    for (n, ((verb, path, body, extra), code, reason)) in cases.into_iter().enumerate() {
        let answer = caller.send(verb, &path, body, extra).await.unwrap();
        assert_eq!(refused(&answer), (code, reason.to_owned()), "case {n}: {path} {extra:?}");
        assert_eq!(answer.header("cellmesh-cell"), Some("a"));
        assert_eq!(answer.header("cellmesh-source"), Some("router"));
    }
    assert!(here.seen().is_empty(), "nothing of it reached a service");
    assert_eq!(echoed(&call(&mut caller, "Put", &good, &[]).await), "a");
}

#[tokio::test]
async fn http_says_what_grpc_prescribes() {
    let here = Upstream::named("a").await;
    let router = start(&[&here], &[]).await;
    let mut caller = router.caller().await;
    let path = format!("{SHELF}/Put");
    let html = caller.send(Method::POST, &path, Bytes::new(), &[("content-type", "text/html")]).await.unwrap();
    assert_eq!(html.http, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let get = caller.send(Method::GET, &path, Bytes::new(), &[]).await.unwrap();
    assert_eq!(get.http, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn a_compressed_message_is_read_and_passed_on_as_it_came() {
    let (here, there) = (Upstream::named("a").await, Upstream::named("b").await);
    let router = start(&[&here], &[("b", &there)]).await;
    let mut caller = router.caller().await;
    let compressed = gzip(&put(account("b", 0)));
    let body = framed(1, compressed.len(), &compressed);
    let path = format!("{SHELF}/Put");
    let answer = caller.send(Method::POST, &path, body, &[("grpc-encoding", "gzip")]).await.unwrap();
    assert_eq!(echoed(&answer), "b");
    assert_eq!(there.seen()[0].message, compressed);
}

#[tokio::test]
async fn deadlines_are_defaulted_capped_and_passed_on() {
    let here = Upstream::named("a").await;
    let router = start(&[&here], &[]).await;
    let mut caller = router.caller().await;
    for (n, (method, asked, at_most)) in [
        ("Enrol", None, 700),
        ("Count", None, 5_000),
        ("Count", Some("99999999H"), 60_000),
        ("Count", Some("200m"), 200),
    ]
    .into_iter()
    .enumerate()
    {
        let extra: Vec<(&str, &str)> = asked.iter().map(|value| ("grpc-timeout", *value)).collect();
        call(&mut caller, method, &[], &extra).await;
        let told = here.seen()[n].headers["grpc-timeout"].clone();
        let told = mesh_layers::timeout::parse(told.as_bytes()).unwrap();
        let at_most = Duration::from_millis(at_most);
        assert!(told <= at_most && told > at_most / 2, "{method} with {asked:?} was given {told:?}");
    }
}

#[tokio::test]
async fn a_silent_service_ends_at_the_deadline() {
    let here = Upstream::silent().await;
    let router = start(&[&here], &[]).await;
    let begun = Instant::now();
    let answer = call(&mut router.caller().await, "Count", &[], &[("grpc-timeout", "200m")]).await;
    assert_eq!(refused(&answer), (Code::DeadlineExceeded, "DEADLINE_EXCEEDED".into()));
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn too_many_calls_are_shed_non_core_ones_first() {
    let here = Upstream::start(|asked| async move {
        tokio::time::sleep(Duration::from_millis(800)).await;
        asked.echo(&["slow"]);
    });
    let here = here.await;
    let mut config = config("a", &[here.address], &[]);
    config.limits.calls = 10;
    let router = start_with(config, map()).await;
    router.reaches(&["a"]).await;
    let caller = router.caller().await;
    let spawn = |method: &'static str| {
        let mut caller = caller.clone();
        tokio::spawn(async move { call(&mut caller, method, &[], &[("grpc-timeout", "5S")]).await })
    };
    let mut running: Vec<_> = (0..8).map(|_| spawn("Count")).collect();
    while router.router.brain().in_flight.load(Relaxed) < 8 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let extra = call(&mut caller.clone(), "Extra", &[], &[]).await;
    assert_eq!(refused(&extra), (Code::ResourceExhausted, "RATE_LIMITED".into()));
    let lowered = call(&mut caller.clone(), "Count", &[], &[("cellmesh-priority", "non-core")]).await;
    assert_eq!(refused(&lowered), (Code::ResourceExhausted, "RATE_LIMITED".into()), "its caller says it is not core");
    let bad = call(&mut caller.clone(), "Count", &[], &[("cellmesh-priority", "core")]).await;
    assert_eq!(refused(&bad).1, "BAD_REQUEST", "nothing is more urgent than its policy says");
    running.extend((0..2).map(|_| spawn("Count")));
    while router.router.brain().in_flight.load(Relaxed) < 10 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let core = call(&mut caller.clone(), "Count", &[], &[]).await;
    assert_eq!(refused(&core), (Code::ResourceExhausted, "RATE_LIMITED".into()));
    for call in running {
        assert_eq!(echoed(&call.await.unwrap()), "slow");
    }
    assert_eq!(router.router.brain().in_flight.load(Relaxed), 0);
}

#[tokio::test]
async fn five_thousand_streams_and_twenty_thousand_malformed_requests_are_cut_off() {
    let here = Upstream::named("a").await;
    let router = start(&[&here], &[]).await;
    for (kind, times) in [
        (Abuse::Open, 5_000),
        (Abuse::Malformed, 20_000),
        (Abuse::ZeroWindowUpdate, 20_000),
        (Abuse::RapidReset, 20_000),
        (Abuse::EmptyData, 20_000),
    ] {
        let outcome = abuse::run(router.front(), kind, times).await.unwrap();
        assert!(outcome.cut_off(), "{kind:?}: {outcome:?}");
    }
    assert_eq!(echoed(&call(&mut router.caller().await, "Put", &put(account("a", 0)), &[]).await), "a");
}

#[tokio::test]
async fn twenty_thousand_calls_with_malformed_bodies_are_cut_off() {
    // Bodies that only the service finds out: it says so, and is believed.
    let here = Upstream::start(|mut asked| async move {
        if !asked.seen.message.is_empty() {
            return asked.echo(&["a"]);
        }
        let mut response: Response<()> = MeshError::bad_request("failed to decode").into_http();
        response.headers_mut().insert("cellmesh-malformed", "1".parse().unwrap());
        let _ = asked.respond.send_response(response, true);
    });
    let here = here.await;
    let router = start(&[&here], &[]).await;
    let (put, count, batch) = ("/warehouse.v1.Shelf/Put", "/warehouse.v1.Shelf/Count", "/warehouse.v1.Shelf/BatchGet");
    let cut_off = || router.router.brain().events.cut_off.load(Relaxed);
    let kinds: [(&'static str, &'static [u8]); 15] = [
        (put, &[]),
        (put, &[0, 0, 0]),
        (put, &[0, 0, 0, 0, 9, 1]),
        (put, &[7, 0, 0, 0, 1, 1]),
        (put, &[1, 0, 0, 0, 1, 1]),
        (put, &[0, 0xff, 0xff, 0xff, 0xff]),
        (put, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        (put, &[0, 0, 0, 0, 3, 0xff, 0xff, 0xff]),
        (put, &[0, 0, 0, 0, 4, 0x3a, 2, 0x10, 0x80]),
        (count, &[0, 0, 0, 0, 2, 0x0a, 9]),
        (count, &[0, 0, 0, 0, 0]),
        (batch, &[0, 0, 0, 0, 4, 0x0a, 2, 0xff, 0xfe]),
        ("/grpc.health.v1.Health/Check", &[0, 0, 0, 0, 2, 0x0a, 9]),
        ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", &[0, 0, 0, 0, 2, 0x0a, 9]),
        ("/cellmesh.control.v1.ControlService/ExplainKey", &[9, 0, 0, 0, 0]),
    ];
    let kinds = kinds.map(|(path, body)| Abuse::Body { path, body });
    for kind in kinds.into_iter().chain([Abuse::BrokenOff { path: put }]) {
        let before = cut_off();
        let outcome = abuse::run(router.front(), kind, 20_000).await.unwrap();
        assert!(outcome.cut_off() && outcome.sent < 5_000, "{kind:?}: {outcome:?}");
        while cut_off() == before {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    assert_eq!(echoed(&call(&mut router.caller().await, "Put", &super::support::put(account("a", 0)), &[]).await), "a");
    while router.router.brain().in_flight.load(Relaxed) > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_caller_who_errs_now_and_then_or_is_refused_by_a_service_is_not_cut_off() {
    let here = Upstream::start(|asked| async move {
        match asked.seen.message.len() {
            0 => asked.fail(MeshError::bad_request("the shelf is full"), false),
            _ => asked.echo(&["a"]),
        }
    });
    let here = here.await;
    let router = start(&[&here], &[]).await;
    let mut caller = router.caller().await;
    let good = put(account("a", 0));
    for _ in 0..2_000 {
        assert_eq!(call(&mut caller, "Put", &[0xff], &[]).await.code(), Some(Code::InvalidArgument));
        assert_eq!(call(&mut caller, "Put", &good, &[]).await.code(), Some(Code::Ok));
        assert_eq!(call(&mut caller, "Enrol", &[], &[]).await.code(), Some(Code::InvalidArgument));
    }
}

#[tokio::test]
async fn a_peers_connection_is_not_cut_off_for_what_callers_say() {
    let here = Upstream::named("a").await;
    let router = start(&[&here], &[]).await;
    let mut peer = router.peer_caller().await;
    let token = [("cellmesh-peer-token", TOKEN), ("cellmesh-hops", "1")];
    for _ in 0..1_500 {
        assert_eq!(call(&mut peer, "Put", &[0xff], &token).await.code(), Some(Code::InvalidArgument));
    }
    assert_eq!(echoed(&call(&mut peer, "Put", &put(account("a", 0)), &token).await), "a");
}

#[tokio::test]
async fn connections_are_capped() {
    let here = Upstream::named("a").await;
    let mut config = config("a", &[here.address], &[]);
    config.limits.connections = 3;
    let router = start_with(config, map()).await;
    router.reaches(&["a"]).await;
    let mut callers = Vec::new();
    for _ in 0..3 {
        let mut caller = router.caller().await;
        call(&mut caller, "Count", &[], &[]).await;
        callers.push(caller);
    }
    let refused = match Caller::connect(router.front()).await {
        Err(_) => true,
        Ok(mut caller) => caller.unary(&format!("{SHELF}/Count"), &[], &[]).await.is_err(),
    };
    assert!(refused, "a fourth connection is closed");
    drop(callers);
}

#[tokio::test]
async fn large_headers_are_refused() {
    let here = Upstream::named("a").await;
    let router = start(&[&here], &[]).await;
    let mut caller = router.caller().await;
    let long = "x".repeat(20_000);
    let answer = caller.unary(&format!("{SHELF}/Count"), &[], &[("x-long", &long)]).await;
    if let Ok(answer) = answer {
        assert_eq!(answer.http, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    }
    assert!(here.seen().is_empty());
    assert_eq!(echoed(&call(&mut router.caller().await, "Count", &[], &[]).await), "a");
}
