//! What stands around the calls: health, reflection, admin, limits.

use crate::{
    notes::{MISBEHAVE, MisbehaveRequest, Notes, READ, WRITE},
    world::{World, eventually, http1},
};
use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use testkit::{
    abuse::{self, Abuse},
    call::Caller,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::{Code, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

async fn channel(address: std::net::SocketAddr) -> Channel {
    Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}

async fn health(world: &World, service: &str) -> ServingStatus {
    let mut client = HealthClient::new(channel(world.running.bound().front).await);
    client.check(HealthCheckRequest { service: service.into() }).await.unwrap().into_inner().status()
}

#[tokio::test]
async fn a_process_is_ready_when_its_gates_are_open() {
    let gate = Arc::new(Mutex::new(None));
    let world = World::with(Notes { gate: Some(Arc::clone(&gate)), ..Notes::default() }, |_| {}).await;
    assert_eq!(world.admin("GET /livez").await.0, 200);
    let (code, body) = world.admin("GET /readyz").await;
    assert_eq!((code, body.trim()), (503, "waiting for: first snapshot"));
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(health(&world, "test.notes.v1.NoteService").await, ServingStatus::NotServing);

    gate.lock().unwrap().take().unwrap().open();
    world.running.ready().await;
    assert_eq!(world.admin("GET /readyz").await.0, 200);
    tokio::time::sleep(Duration::from_millis(20)).await;
    for service in ["", "test.notes.v1.NoteService"] {
        assert_eq!(health(&world, service).await, ServingStatus::Serving, "{service:?}");
    }
    world.end().await;
}

#[tokio::test]
async fn reflection_tells_services_and_options_in_both_versions() {
    use tonic_reflection::pb::{v1, v1alpha};
    let world = World::start().await;
    let channel = channel(world.running.bound().front).await;

    let mut client = v1::server_reflection_client::ServerReflectionClient::new(channel.clone());
    let ask = |request| v1::ServerReflectionRequest { host: String::new(), message_request: Some(request) };
    let requests = [
        ask(v1::server_reflection_request::MessageRequest::ListServices(String::new())),
        ask(v1::server_reflection_request::MessageRequest::FileContainingSymbol("test.notes.v1.NoteService".into())),
        ask(v1::server_reflection_request::MessageRequest::FileContainingSymbol("google.rpc.ErrorInfo".into())),
    ];
    let mut answers = client.server_reflection_info(tokio_stream::iter(requests)).await.unwrap().into_inner();
    let listed = answers.message().await.unwrap().unwrap();
    let names = format!("{listed:?}");
    for name in ["test.notes.v1.NoteService", "grpc.health.v1.Health"] {
        assert!(names.contains(name), "{names}");
    }
    let file = answers.message().await.unwrap().unwrap();
    let Some(v1::server_reflection_response::MessageResponse::FileDescriptorResponse(files)) = file.message_response
    else {
        panic!("no file: {file:?}");
    };
    // The policy extension, number 76501, length-delimited.
    let option = [0xaa, 0xad, 0x25];
    assert!(files.file_descriptor_proto.iter().any(|file| file.windows(3).any(|at| at == option)), "options are kept");

    let details = format!("{:?}", answers.message().await.unwrap());
    assert!(details.contains("FileDescriptorResponse"), "what statuses carry is known too: {details}");

    let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(channel);
    let list = v1alpha::server_reflection_request::MessageRequest::ListServices(String::new());
    let request = v1alpha::ServerReflectionRequest { host: String::new(), message_request: Some(list) };
    let mut answers = client.server_reflection_info(tokio_stream::iter([request])).await.unwrap().into_inner();
    let names = format!("{:?}", answers.message().await.unwrap());
    assert!(names.contains("test.notes.v1.NoteService"), "{names}");
    world.end().await;
}

#[tokio::test]
async fn what_is_no_http2_is_told_so_and_what_says_nothing_is_closed() {
    let world = World::with(Notes::default(), |config| config.limits.handshake_ms = 200).await;
    let front = world.running.bound().front;
    assert_eq!(http1(front, "GET /", "").await.unwrap().0, 505);
    for start in [&b""[..], b"PRI * HT"] {
        let mut slow = tokio::net::TcpStream::connect(front).await.unwrap();
        slow.write_all(start).await.unwrap();
        let began = Instant::now();
        let mut rest = Vec::new();
        let closed = tokio::time::timeout(Duration::from_secs(5), slow.read_to_end(&mut rest)).await;
        assert!(closed.is_ok(), "a preface that never comes must not hold a connection");
        assert!(began.elapsed() >= Duration::from_millis(150), "but it gets its time");
    }
    assert_eq!(world.count("cellmesh_refused_connections_total", &["handshake_timeout"]).await, 2);
    assert_eq!(world.count("cellmesh_refused_connections_total", &["not_http2"]).await, 1);
    world.end().await;
}

#[tokio::test]
async fn connections_are_counted_capped_and_closed_when_idle() {
    let world = World::with(Notes::default(), |config| {
        config.limits.connections = 2;
        config.limits.idle_ms = 200;
    })
    .await;
    let front = world.running.bound().front;
    let mut first = world.front().await;
    let answer = first.unary(MISBEHAVE, &[], &[]).await.unwrap();
    assert_eq!(answer.code(), Some(Code::Ok));
    let mut second = world.front().await;
    second.unary(MISBEHAVE, &[], &[]).await.unwrap();
    let refused = async { Caller::connect(front).await?.unary(MISBEHAVE, &[], &[]).await }.await;
    assert!(refused.is_err(), "the third is one too many");
    assert_eq!(world.count("cellmesh_refused_connections_total", &["too_many"]).await, 1);

    let began = Instant::now();
    while world.count("cellmesh_connections", &["front"]).await > 0 {
        assert!(began.elapsed() < Duration::from_secs(10), "idle connections must be closed");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    world.end().await;
}

#[tokio::test]
async fn an_old_connection_ends_after_its_running_calls() {
    let world = World::with(Notes::default(), |config| config.limits.max_age_ms = 150).await;
    let mut caller = world.front().await;
    let nap = MisbehaveRequest { how: "nap".into(), user_id: String::new() };
    let answer = caller.message(MISBEHAVE, &nap, &[]).await.expect("a running call outlives its connection's age");
    assert_eq!(answer.code(), Some(Code::Ok));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(caller.unary(MISBEHAVE, &[], &[]).await.is_err(), "then the connection is closed");
    world.end().await;
}

#[tokio::test]
async fn a_connection_that_abuses_http2_is_cut_off() {
    let world = World::start().await;
    let front = world.running.bound().front;
    let opened = abuse::run(front, Abuse::Open, 5_000).await.unwrap();
    assert!(opened.resets > 0 || opened.cut_off(), "streams beyond 100 must be refused: {opened:?}");
    let malformed = abuse::run(front, Abuse::Malformed, 20_000).await.unwrap();
    assert!(malformed.cut_off() && malformed.sent < 20_000, "{malformed:?}");
    // Honest callers are still served.
    let answer = world.front().await.unary(MISBEHAVE, &[], &[]).await.unwrap();
    assert_eq!(answer.code(), Some(Code::Ok));
    world.end().await;
}

#[tokio::test]
async fn twenty_thousand_calls_with_malformed_bodies_are_cut_off() {
    let world = World::start().await;
    let front = world.running.bound().front;
    let kinds: [(&'static str, &'static [u8]); 10] = [
        (WRITE, &[]),
        (WRITE, &[0, 0, 0]),
        (WRITE, &[0, 0, 0, 0, 9, 1]),
        (WRITE, &[7, 0, 0, 0, 1, 1]),
        (WRITE, &[1, 0, 0, 0, 1, 1]),
        (WRITE, &[0, 0xff, 0xff, 0xff, 0xff]),
        (WRITE, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        (WRITE, &[0, 0, 0, 0, 3, 0xff, 0xff, 0xff]),
        (MISBEHAVE, &[0, 0, 0, 0, 4, 0x0a, 2, 0xff, 0xfe]),
        ("/grpc.health.v1.Health/Check", &[7, 0, 0, 0, 0]),
    ];
    let kinds = kinds.map(|(path, body)| Abuse::Body { path, body });
    for (n, kind) in kinds.into_iter().chain([Abuse::BrokenOff { path: WRITE }]).enumerate() {
        let outcome = abuse::run(front, kind, 20_000).await.unwrap();
        assert!(outcome.cut_off() && outcome.sent < 5_000, "{kind:?}: {outcome:?}");
        eventually(async || {
            world.count("cellmesh_refused_connections_total", &["abandoned_calls"]).await == n as u64 + 1
        })
        .await;
    }
    // What is well formed and refused all the same is no abuse.
    let mut caller = world.front().await;
    for _ in 0..1_500 {
        assert_eq!(caller.unary(WRITE, &[], &[]).await.unwrap().code(), Some(Code::InvalidArgument));
    }
    let answer = caller.unary(MISBEHAVE, &[], &[]).await.unwrap();
    assert_eq!(answer.code(), Some(Code::Ok));
    world.end().await;
}

#[tokio::test]
async fn calls_beyond_the_limit_are_refused_at_once() {
    let go_on = Arc::new(tokio::sync::Notify::new());
    let notes = Notes { go_on: Arc::clone(&go_on), ..Notes::default() };
    let world = World::with(notes, |config| config.limits.calls = 1).await;
    let mut caller = world.front().await;
    let wait = MisbehaveRequest { how: "wait".into(), user_id: String::new() };
    let mut other = caller.clone();
    let waiting =
        tokio::spawn(async move { other.message(MISBEHAVE, &wait, &[("grpc-timeout", "30S")]).await.unwrap() });
    world.in_flight(1).await;
    let answer = caller.unary(READ, &[], &[]).await.unwrap();
    assert_eq!(answer.code(), Some(Code::ResourceExhausted));
    assert_eq!(crate::world::reason(&answer), "RATE_LIMITED");
    go_on.notify_one();
    assert_eq!(waiting.await.unwrap().code(), Some(Code::Ok));
    world.end().await;
}
