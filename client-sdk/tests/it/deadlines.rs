//! Every call ends by its deadline, wherever it waits.

use crate::{
    depot::Depot,
    routing::Cells,
    server::Server,
    world::{Router, Told, cell, mesh, user, within},
};
use client_sdk::{Code, Connecting, Connector, Criticality, Mesh};
use http::{HeaderValue, Uri};
use mesh_layers::{
    CallContext, Listener,
    call::{CallStart, TraceHeaders},
    timeout,
    trust::Believed,
};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_millis(150);

#[derive(Debug)]
struct NeverConnects;

impl Connector for NeverConnects {
    fn connect<'a>(&'a self, _: &'a str) -> Connecting<'a> {
        Box::pin(std::future::pending())
    }
}

#[tokio::test]
async fn a_silent_server_costs_the_deadline_and_no_more() {
    let silent = Server::start(|asked| async move { asked.hold().await }).await;
    let router = Router::start(Told::new(&[("b", &silent)])).await;
    let (_mesh, depot) = mesh(&router).await;
    let error = within(depot.get(&user("b", 0)).deadline(SOON).into_future()).await.unwrap_err();
    assert_eq!((error.code(), error.reason()), (Code::DeadlineExceeded, Some("DEADLINE_EXCEEDED")));
    assert_eq!((error.cell(), error.attempts(), error.method()), (Some(&cell("b")), 1, "/depot.v1.Depot/Get"));
    let asked = silent.seen()[0].header("grpc-timeout").map(|value| timeout::parse(value.as_bytes()).unwrap());
    assert!(asked.is_some_and(|asked| asked <= SOON && asked > SOON / 2), "{asked:?}");
}

#[tokio::test]
async fn waiting_for_a_connection_ends_at_the_deadline_too() {
    let mesh = Mesh::builder().seeds(["127.0.0.1:1"]).connector(NeverConnects);
    let mesh = mesh.connect_timeout(Duration::from_secs(30)).build().unwrap();
    let error = within(Depot::new(&mesh).get("somebody").deadline(SOON).into_future()).await.unwrap_err();
    assert_eq!((error.code(), error.attempts()), (Code::DeadlineExceeded, 0));
}

#[tokio::test]
async fn a_scope_of_time_binds_streams_too() {
    let silent = Server::start(|asked| async move { asked.hold().await }).await;
    let router = Router::start(Told::new(&[("b", &silent)])).await;
    let (_mesh, depot) = mesh(&router).await;
    let error = within(client_sdk::within(SOON, depot.follow(&user("b", 0)))).await.unwrap_err();
    assert_eq!((error.code(), error.cell()), (Code::DeadlineExceeded, Some(&cell("b"))));
}

#[tokio::test]
async fn a_call_that_is_less_urgent_than_its_policy_says_so_to_routers() {
    let cells = Cells::start().await;
    let (_mesh, depot) = mesh(&cells.router).await;
    let b = || user("b", 0);
    depot.put(&b()).await.unwrap();
    depot.put(&b()).priority(Criticality::NonCore).await.unwrap();
    depot.follow(&b()).priority(Criticality::NonCore).await.unwrap();
    let told: Vec<_> = cells.b.seen().iter().map(|seen| seen.header("cellmesh-priority").map(str::to_owned)).collect();
    assert_eq!(told, [None, Some("non-core".to_owned()), Some("non-core".to_owned())]);
}

#[tokio::test]
async fn a_served_call_passes_on_the_time_it_has_left_and_its_trace() {
    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let cells = Cells::start().await;
    let (_mesh, depot) = mesh(&cells.router).await;
    let served = CallContext::new(CallStart {
        cell: cell("a"),
        path: Uri::from_static("/other.v1.Other/Do"),
        listener: Listener::Front,
        believed: Believed::default(),
        user_hint: None,
        deadline: Instant::now() + Duration::from_millis(700),
        trace: Some(TraceHeaders { parent: HeaderValue::from_static(PARENT), state: None }),
    });
    served.scope(depot.get(&user("b", 0)).into_future()).await.unwrap();
    assert_eq!(served.fenced_commits(), 0, "a read is no doing");
    served.scope(depot.put(&user("b", 0)).into_future()).await.unwrap();
    assert_eq!(served.fenced_commits(), 1, "what it makes others do counts as its own doing (OWN-9)");
    let seen = cells.b.seen();
    let asked = seen[0].header("grpc-timeout").map(|value| timeout::parse(value.as_bytes()).unwrap());
    assert!(asked.is_some_and(|asked| asked <= Duration::from_millis(695)), "{asked:?}");
    assert_eq!(seen[0].header("traceparent"), Some(PARENT));
}
