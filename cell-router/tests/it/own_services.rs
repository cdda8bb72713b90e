//! Health, reflection, the control API, admin.

use crate::support::*;
use cell_map::{CellMap, UserKey};
use http::Request;
use mesh_proto::control_v1::{
    CheckMeshRequest, ExplainKeyRequest, GetMapRequest, WatchMapRequest, control_service_client::ControlServiceClient,
    map_service_client::MapServiceClient,
};
use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_stream::StreamExt as _;
use tonic::{Code, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

async fn channel(router: &Started) -> Channel {
    Channel::from_shared(format!("http://{}", router.front())).unwrap().connect().await.unwrap()
}

async fn admin(router: &Started, path: &str) -> String {
    let mut stream = TcpStream::connect(router.router.addresses().admin).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn the_map_is_given_and_watched() {
    let here = Upstream::named("a").await;
    let router = start(&[&here], &[]).await;
    let mut client = MapServiceClient::new(channel(&router).await);
    let got = client.get_map(GetMapRequest {}).await.unwrap().into_inner().map.unwrap();
    assert_eq!(CellMap::try_from(got).unwrap(), map());
    let mut watch = client.watch_map(WatchMapRequest::default()).await.unwrap().into_inner();
    assert_eq!(watch.next().await.unwrap().unwrap().map.unwrap().epoch, 1);
    let next = map().next().build().unwrap();
    router.maps.send_replace(Arc::new(next));
    assert_eq!(watch.next().await.unwrap().unwrap().map.unwrap().epoch, 2);
    let beat = tokio::time::timeout(Duration::from_secs(5), watch.next()).await.expect("a heartbeat every 5 s");
    assert_eq!(beat.unwrap().unwrap().map, None);
}

#[tokio::test]
async fn a_connection_with_an_open_stream_is_not_idle_and_without_one_it_is() {
    let here = Upstream::named("a").await;
    let mut config = config("a", &[here.address], &[]);
    config.limits.idle_ms = 100;
    config.limits.age_grace_ms = 100;
    let router = start_with(config, map()).await;
    router.reaches(&["a"]).await;
    let mut sender = router.raw().await.ready().await.unwrap();
    let watch = Request::post("http://x/cellmesh.control.v1.MapService/WatchMap");
    let watch = watch.header("content-type", "application/grpc").body(()).unwrap();
    let (response, mut request) = sender.send_request(watch, false).unwrap();
    request.send_data(mesh_layers::frame::encode(&[]), true).unwrap();
    let mut body = response.await.unwrap().into_body();
    body.data().await.unwrap().expect("the map of now");
    // Many times the time after which a connection is idle, and no call in it.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    router.maps.send_replace(Arc::new(map().next().build().unwrap()));
    body.data().await.expect("the stream is open").expect("the map that was published");

    drop((request, body));
    let open = &router.router.brain().events.connections[mesh_layers::Listener::Front as usize];
    let closed = tokio::time::timeout(Duration::from_secs(10), async {
        while open.load(Relaxed) > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    closed.await.expect("a connection that nobody uses is closed");
}

#[tokio::test]
async fn a_key_is_explained_by_bucket_pin_or_redirect() {
    let here = Upstream::named("a").await;
    let b = Upstream::start(|asked| async move { asked.wrong_cell("a", epochs(3, 1), true) }).await;
    let router = start(&[&here], &[("b", &b)]).await;
    let mut client = ControlServiceClient::new(channel(&router).await);
    let (key, number) = (text_account("b", 0), account("b", 0));
    let explain = async |client: &mut ControlServiceClient<Channel>| {
        client.explain_key(ExplainKeyRequest { key: key.clone() }).await.unwrap().into_inner()
    };
    let explained = explain(&mut client).await;
    assert_eq!((explained.cell.as_str(), explained.decided_by.as_str()), ("b", "bucket"));
    assert_eq!((explained.region.as_str(), explained.asked_cell.as_str(), explained.map_epoch), ("b", "a", 1));
    call(&mut router.caller().await, "Put", &put(number), &[]).await;
    let explained = explain(&mut client).await;
    assert_eq!((explained.cell.as_str(), explained.decided_by.as_str(), explained.user_epoch), ("a", "learnt", 3));
    let mut next = map().next();
    next.pin(UserKey::from_i64(number).unwrap(), &cell("c"), cell_map::UserEpoch::new(4)).unwrap();
    router.maps.send_replace(Arc::new(next.build().unwrap()));
    while explain(&mut client).await.decided_by != "pin" {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let bad = client.explain_key(ExplainKeyRequest { key: String::new() }).await.unwrap_err();
    assert_eq!(bad.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn checks_say_why_and_what_to_do() {
    let here = Upstream::named("a").await;
    let router = start(&[&here], &[]).await;
    let mut client = ControlServiceClient::new(channel(&router).await);
    let checks = client.check_mesh(CheckMeshRequest {}).await.unwrap().into_inner().checks;
    let (good, bad): (Vec<_>, Vec<_>) = checks.into_iter().partition(|check| check.ok);
    assert!(good.iter().any(|check| check.name.contains("instance")), "{good:?}");
    let names: Vec<&str> = bad.iter().map(|check| check.name.as_str()).collect();
    assert_eq!(names, ["cell b reachable", "cell c reachable"]);
    assert!(bad.iter().all(|check| !check.why.is_empty() && !check.fix.is_empty()));
}

#[tokio::test]
async fn reflection_shows_the_strangers_proto() {
    let here = Upstream::named("a").await;
    let router = start(&[&here], &[]).await;
    let mut client = ServerReflectionClient::new(channel(&router).await);
    let ask = |message| ServerReflectionRequest { host: String::new(), message_request: Some(message) };
    let requests = tokio_stream::iter([
        ask(MessageRequest::ListServices(String::new())),
        ask(MessageRequest::FileContainingSymbol("warehouse.v1.Shelf".into())),
    ]);
    let mut answers = client.server_reflection_info(requests).await.unwrap().into_inner();
    let Some(MessageResponse::ListServicesResponse(list)) = answers.next().await.unwrap().unwrap().message_response
    else {
        panic!("no list");
    };
    let names: Vec<&str> = list.service.iter().map(|service| service.name.as_str()).collect();
    for name in ["warehouse.v1.Shelf", "cellmesh.control.v1.ControlService", "grpc.health.v1.Health"] {
        assert!(names.contains(&name), "{names:?} lacks {name}");
    }
    let file = answers.next().await.unwrap().unwrap().message_response;
    assert!(matches!(file, Some(MessageResponse::FileDescriptorResponse(_))), "{file:?}");
}

#[tokio::test]
async fn health_and_readiness_follow_the_instances() {
    let here = Upstream::named("a").await;
    let router = start(&[&here], &[]).await;
    router.router.ready().await;
    let mut client = HealthClient::new(channel(&router).await);
    for service in ["", "warehouse.v1.Shelf"] {
        let status = client.check(HealthCheckRequest { service: service.into() }).await.unwrap().into_inner().status;
        assert_eq!(status, 1, "{service:?} is serving");
    }
    let unknown = client.check(HealthCheckRequest { service: "no.Such".into() }).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    assert!(admin(&router, "/readyz").await.starts_with("HTTP/1.1 200"));
    here.kill().await;
    while router.router.is_ready() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(admin(&router, "/readyz").await.starts_with("HTTP/1.1 503"));
    assert!(admin(&router, "/livez").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn passes_and_attempts_are_counted_by_method_and_status() {
    let here = Upstream::start(|asked| async move {
        match asked.number {
            0 => asked.wrong_cell("b", epochs(0, 2), true),
            _ => asked.echo(&["ok"]),
        }
    });
    let (here, there) = (here.await, Upstream::named("b").await);
    let router = start(&[&here], &[("b", &there)]).await;
    let mut caller = router.caller().await;
    call(&mut caller, "Put", &put(account("a", 0)), &[]).await;
    call(&mut caller, "Put", &[], &[]).await;
    caller.unary("/no.Such/Method", &[], &[]).await.unwrap();
    let text = admin(&router, "/metrics").await;
    for line in [
        "cellmesh_router_calls_total{cell=\"a\",method=\"warehouse.v1.Shelf/Put\",status=\"OK\"} 1",
        "cellmesh_router_calls_total{cell=\"a\",method=\"warehouse.v1.Shelf/Put\",status=\"INVALID_ARGUMENT\"} 1",
        "cellmesh_router_calls_total{cell=\"a\",method=\"_other\",status=\"UNIMPLEMENTED\"} 1",
        "cellmesh_router_attempts_total{cell=\"a\",method=\"warehouse.v1.Shelf/Put\"} 2",
        "cellmesh_router_redirects_learnt_total{cell=\"a\"} 1",
        "cellmesh_router_map_epoch{cell=\"a\"} 1",
    ] {
        assert!(text.contains(line), "no line {line}\n{text}");
    }
}
