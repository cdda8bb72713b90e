//! Where calls go.

use crate::{
    server::Server,
    world::{Router, Told, builder, cell, draft, eventually, mesh, nowhere, ready, user, within},
};
use cell_map::CellState;
use client_sdk::{Code, InMemory, Mesh, Source, State};
use mesh_proto::control_v1::MethodRestriction;
use std::{sync::Arc, time::Duration};

/// Cells `a`, `b` and `c`, each with an instance that echoes its cell, and a router.
pub struct Cells {
    pub router: Router,
    pub a: Server,
    pub b: Server,
    pub c: Server,
}

impl Cells {
    pub async fn start() -> Self {
        let (a, b, c) = (Server::named("a").await, Server::named("b").await, Server::named("c").await);
        let router = Router::start(Told::new(&[("a", &a), ("b", &b), ("c", &c)])).await;
        Self { router, a, b, c }
    }
}

#[tokio::test]
async fn every_scope_goes_straight_to_its_cell() {
    let cells = Cells::start().await;
    let (mesh, depot) = mesh(&cells.router).await;
    for home in ["a", "b", "c"] {
        let reply = depot.get(&user(home, 0)).await.unwrap();
        assert_eq!(reply.value.text, home);
        assert_eq!(reply.source, Source::Remote { cell: Some(cell(home)), attempts: 1, hops: 0 });
        assert_eq!(depot.put(&user(home, 1)).await.unwrap().value.text, home);
    }
    assert_eq!(depot.publish().await.unwrap().value.text, "a", "the global cell");
    assert_eq!(depot.count().await.unwrap().value.text, "a", "the nearest cell");
    assert!(cells.router.server.seen().is_empty(), "no call went through the router");
    let stats = mesh.stats();
    assert_eq!((stats.wire().calls, stats.wire().attempts, stats.cells[&cell("b")].calls), (8, 8, 2));
}

#[tokio::test]
async fn calls_go_through_the_router_until_the_world_is_known() {
    let b = Server::named("b").await;
    let router = Router::start(Told { map: None, ..Told::new(&[("b", &b)]) }).await;
    let mesh = builder(&router).build().unwrap();
    let depot = crate::depot::Depot::new(&mesh);
    let reply = depot.get(&user("b", 0)).await.unwrap();
    assert_eq!((reply.value.text.as_str(), mesh.state()), ("router", State::Starting));
    router.told.send_modify(|told| told.map = Some(Arc::new(crate::world::map())));
    within(mesh.ready()).await.unwrap();
    assert_eq!(depot.get(&user("b", 0)).await.unwrap().value.text, "b");
    assert_eq!(mesh.stats().routers.attempts, 1);
}

#[tokio::test]
async fn a_cell_whose_instances_nobody_knows_is_reached_through_the_router() {
    let a = Server::named("a").await;
    let router = Router::start(Told::new(&[("a", &a)])).await;
    let (mesh, depot) = mesh(&router).await;
    assert_eq!(depot.get(&user("b", 0)).await.unwrap().value.text, "router");
    assert_eq!(mesh.stats().cells[&cell("b")].fallbacks, 0, "that is no failure");
}

#[tokio::test]
async fn calls_through_routers_go_through_the_seeds_that_were_given() {
    let a = Server::named("a").await;
    let other = Router::with(Told::new(&[]), |asked| async move { asked.echo("of the map") }).await;
    let router = Router::start(Told { routers: vec![other.server.address], ..Told::new(&[("a", &a)]) }).await;
    let (mesh, depot) = mesh(&router).await;
    for n in 0..10 {
        assert_eq!(depot.get(&user("b", n)).await.unwrap().value.text, "router");
    }
    router.server.kill().await;
    eventually(async || mesh.state() == State::Stale).await;
    // The first ones may meet the broken connection.
    eventually(async || depot.get(&user("b", 0)).await.is_ok_and(|reply| reply.value.text == "of the map")).await;
}

#[tokio::test]
async fn of_the_seeds_those_of_the_near_cell_come_first() {
    let a = Server::named("a").await;
    let far = Router::with(Told::new(&[]), |asked| async move { asked.echo("far") }).await;
    let router = Router::start(Told::new(&[("a", &a)])).await;
    router.told.send_modify(|told| told.routers = vec![router.server.address]);
    let seeds = [&router, &far].map(|router| router.server.address.to_string());
    let (_mesh, depot) = ready(Mesh::builder().seeds(seeds)).await;
    for n in 0..20 {
        assert_eq!(depot.get(&user("b", n)).await.unwrap().value.text, "router");
    }
}

#[tokio::test]
async fn replicated_calls_leave_a_cell_that_drains_for_the_nearest() {
    let cells = Cells::start().await;
    let mut next = draft().build().unwrap().next();
    next.set_cell_state(&cell("a"), CellState::Draining).unwrap();
    let drained = Arc::new(next.build().unwrap());
    let (_mesh, depot) = mesh(&cells.router).await;
    assert_eq!(depot.count().await.unwrap().value.text, "a");
    cells.router.told.send_modify(|told| told.map = Some(drained));
    eventually(async || depot.count().await.unwrap().value.text == "b").await;
    assert_eq!(depot.get(&user("a", 0)).await.unwrap().value.text, "a", "users stay");
}

#[tokio::test]
async fn instances_of_a_cell_share_its_calls_and_a_new_one_gets_some() {
    let (one, two) = (Server::named("one").await, Server::named("two").await);
    let router = Router::start(Told::new(&[("b", &one)])).await;
    let (_mesh, depot) = mesh(&router).await;
    assert_eq!(depot.get(&user("b", 0)).await.unwrap().value.text, "one");
    router.told.send_modify(|told| told.instances.push(("b", two.address)));
    eventually(async || {
        depot.get(&user("b", 0)).await.unwrap();
        !two.seen().is_empty()
    })
    .await;
}

#[tokio::test]
async fn a_dead_instance_beside_a_live_one_costs_no_caller_an_error() {
    let one = Server::named("one").await;
    let router = Router::start(Told::new(&[("b", &one)])).await;
    let dead = nowhere().await;
    router.told.send_modify(|told| told.instances.push(("b", dead)));
    let (mesh, depot) = mesh(&router).await;
    for n in 0..200 {
        let reply = depot.put(&user("b", 0)).await;
        assert!(reply.is_ok(), "call {n}: {:?}", reply.unwrap_err());
    }
    let b = mesh.stats().cells[&cell("b")];
    assert!(b.unsent <= 3, "{b:?}");
    assert!(b.connects_failed <= 20, "a storm of connections: {b:?}");
}

#[tokio::test]
async fn the_key_is_in_metadata_only_when_the_message_has_none() {
    let cells = Cells::start().await;
    let (_mesh, depot) = mesh(&cells.router).await;
    let reply = depot.note().user_key(user("b", 0)).unwrap().metadata("x-note", "hello").unwrap().await.unwrap();
    assert_eq!(reply.value.text, "b");
    let seen = cells.b.seen();
    assert_eq!(seen[0].header("cellmesh-user"), Some(&*user("b", 0)));
    assert_eq!(seen[0].header("x-note"), Some("hello"));
    assert_eq!(seen[0].header("content-type"), Some("application/grpc"));
    assert_eq!(seen[0].header("te"), Some("trailers"));
    depot.get(&user("b", 0)).user_key(user("b", 0)).unwrap().await.unwrap();
    assert_eq!(cells.b.seen()[1].header("cellmesh-user"), None);
    let error = depot.get(&user("b", 0)).user_key(user("c", 0)).unwrap().await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    assert!(depot.note().user_key("").is_err());
    // A router knows what to say of a call that names nobody.
    assert_eq!(depot.note().await.unwrap().value.text, "router");
}

#[tokio::test]
async fn restrictions_tighten_what_calls_may_do() {
    let cells = Cells::start().await;
    let (_mesh, depot) = mesh(&cells.router).await;
    let get = |no_direct, max_deadline_ms| MethodRestriction {
        method: "/depot.v1.Depot/Get".to_owned(),
        no_direct,
        max_deadline_ms,
        ..MethodRestriction::default()
    };
    cells.router.told.send_modify(|told| told.methods = vec![get(true, 0)]);
    eventually(async || depot.get(&user("b", 0)).await.unwrap().value.text == "router").await;
    assert_eq!(depot.put(&user("b", 0)).await.unwrap().value.text, "b", "other methods are free");
    cells.router.told.send_modify(|told| told.methods = vec![get(false, 50)]);
    eventually(async || {
        depot.get(&user("b", 0)).await.unwrap();
        let timeout = cells.b.seen().last().and_then(|seen| seen.header("grpc-timeout").map(str::to_owned));
        let timeout = mesh_layers::timeout::parse(timeout.unwrap().as_bytes()).unwrap();
        timeout <= Duration::from_millis(50)
    })
    .await;
}

#[tokio::test]
async fn a_mesh_needs_seeds_that_are_addresses() {
    for seeds in [vec![], vec!["nowhere"], vec![":7000"], vec!["127.0.0.1:7000", "http://127.0.0.1:7000"]] {
        let error = Mesh::builder().seeds(seeds.clone()).build().unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument, "{seeds:?}");
    }
    let outside = std::thread::spawn(|| Mesh::builder().seeds(["127.0.0.1:7000"]).build().unwrap_err());
    assert_eq!(outside.join().unwrap().code(), Code::FailedPrecondition);
}

#[tokio::test]
async fn connections_outlive_the_runtime_of_a_call_that_made_them() {
    let cells = Cells::start().await;
    let (_mesh, depot) = mesh(&cells.router).await;
    let (there, user) = (depot.clone(), user("b", 0));
    let call = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(there.put(&user).into_future()).unwrap().value.text
    };
    assert_eq!(tokio::task::spawn_blocking(call).await.unwrap(), "b");
    assert_eq!(depot.put(&crate::world::user("b", 0)).await.unwrap().value.text, "b");
    assert_eq!(cells.b.connections(), 1);
}

#[tokio::test]
async fn a_closed_mesh_sends_nothing() {
    let cells = Cells::start().await;
    let (mesh, depot) = mesh(&cells.router).await;
    mesh.close();
    assert_eq!(mesh.state(), State::Closed);
    assert_eq!(depot.get(&user("b", 0)).await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(mesh.ready().await.unwrap_err().code(), Code::Unavailable);
    assert!(cells.b.seen().is_empty());
}

#[tokio::test]
async fn calls_need_no_sockets_over_a_network_in_memory() {
    let network = InMemory::default();
    let mut listener = network.listen("router:1");
    let mesh = Mesh::builder().seeds(["router:1"]).connector(network).build().unwrap();
    let depot = crate::depot::Depot::new(&mesh);
    tokio::spawn(async move {
        while let Some(stream) = listener.accept().await {
            tokio::spawn(async move {
                let mut incoming = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((request, mut respond))) = incoming.accept().await {
                    if request.uri().path().starts_with("/cellmesh.") {
                        respond.send_reset(h2::Reason::CANCEL);
                        continue;
                    }
                    let head = http::Response::builder().header("content-type", "application/grpc").body(()).unwrap();
                    let mut stream = respond.send_response(head, false).unwrap();
                    stream.send_data(mesh_layers::frame::encode(&crate::server::echo("memory")), false).unwrap();
                    let ok = (http::HeaderName::from_static("grpc-status"), "0".parse().unwrap());
                    stream.send_trailers(http::HeaderMap::from_iter([ok])).unwrap();
                }
            });
        }
    });
    assert_eq!(within(depot.get("somebody").into_future()).await.unwrap().value.text, "memory");
}

#[tokio::test]
async fn traffic_needs_the_first_message_of_no_other_seed() {
    let cells = Cells::start().await;
    let seeds = [nowhere().await.to_string(), cells.router.server.address.to_string()];
    let (mesh, depot) = ready(Mesh::builder().seeds(seeds)).await;
    assert_eq!(depot.get(&user("c", 0)).await.unwrap().value.text, "c");
    assert!(mesh.stats().routers.connects_failed >= 1);
}
