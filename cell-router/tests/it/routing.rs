//! Where calls go, and what goes along.

use crate::support::*;
use cell_map::{CellState, Incarnation};
use http::{HeaderMap, HeaderName, Response};
use tonic::Code;

#[tokio::test]
async fn a_nested_key_of_an_unknown_proto_routes_home() {
    let (here, there) = (Upstream::named("a").await, Upstream::named("b").await);
    let router = start(&[&here], &[("b", &there)]).await;
    let mut caller = router.caller().await;
    for (home, hops) in [("a", "0"), ("b", "1")] {
        let answer = call(&mut caller, "Put", &put(account(home, 0)), &[]).await;
        assert_eq!(echoed(&answer), home);
        assert_eq!(answer.header("cellmesh-cell"), Some(home));
        assert_eq!(answer.header("cellmesh-hops"), Some(hops));
    }
}

#[tokio::test]
async fn a_token_comes_back_with_the_answer_and_none_is_believed_of_a_caller() {
    let there = Upstream::start(|mut asked| async move {
        assert_eq!(asked.seen.header("cellmesh-token"), None);
        let head = Response::builder().header("cellmesh-token", "b;3;42").body(()).unwrap();
        let mut stream = asked.respond.send_response(head, false).unwrap();
        let _ = stream.send_data(mesh_layers::frame::encode(&text(1, "b")), false);
        let _ = stream
            .send_trailers(HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), "0".parse().unwrap())]));
    });
    let there = there.await;
    let router = start(&[], &[("b", &there)]).await;
    let forged = [("cellmesh-token", "a;9;9")];
    let answer = call(&mut router.caller().await, "Put", &put(account("b", 0)), &forged).await;
    assert_eq!(echoed(&answer), "b");
    assert_eq!(answer.header("cellmesh-token"), Some("b;3;42"));
}

#[tokio::test]
async fn int64_and_string_keys_of_equal_value_meet_in_one_cell() {
    let (here, there) = (Upstream::named("a").await, Upstream::named("b").await);
    let router = start(&[&here], &[("b", &there)]).await;
    let mut caller = router.caller().await;
    for home in ["a", "b"] {
        for n in 0..8 {
            let key = account(home, n);
            assert_eq!(echoed(&call(&mut caller, "Put", &put(key), &[]).await), home, "int64 {key}");
            assert_eq!(echoed(&call(&mut caller, "Get", &get(&key.to_string()), &[]).await), home, "string {key}");
        }
    }
}

#[tokio::test]
async fn a_key_in_metadata_counts_when_the_message_has_none() {
    let (here, there) = (Upstream::named("a").await, Upstream::named("b").await);
    let router = start(&[&here], &[("b", &there)]).await;
    let mut caller = router.caller().await;
    let user = text_account("b", 0);
    for (method, message) in [("Note", text(1, "hello")), ("Get", Vec::new())] {
        let answer = call(&mut caller, method, &message, &[("cellmesh-user", &user)]).await;
        assert_eq!(echoed(&answer), "b", "{method}");
    }
    let agreeing = call(&mut caller, "Get", &get(&user), &[("cellmesh-user", &user)]).await;
    assert_eq!(echoed(&agreeing), "b");
}

#[tokio::test]
async fn a_key_that_contradicts_the_message_is_refused() {
    let (here, there) = (Upstream::named("a").await, Upstream::named("b").await);
    let router = start(&[&here], &[("b", &there)]).await;
    let mut caller = router.caller().await;
    let (mine, other) = (text_account("a", 0), text_account("a", 1));
    let answer = call(&mut caller, "Get", &get(&mine), &[("cellmesh-user", &other)]).await;
    assert_eq!(refused(&answer), (Code::InvalidArgument, "BAD_REQUEST".into()));
    let answer = call(&mut caller, "Get", &[], &[]).await;
    assert_eq!(refused(&answer), (Code::InvalidArgument, "BAD_REQUEST".into()));
    assert!(here.seen().is_empty() && there.seen().is_empty());
}

#[tokio::test]
async fn forged_metadata_changes_nothing() {
    let (here, there) = (Upstream::named("a").await, Upstream::named("b").await);
    let router = start(&[&here], &[("b", &there)]).await;
    let mut caller = router.caller().await;
    let forged = [
        ("cellmesh-hops", "7"),
        ("cellmesh-user-epoch", "99"),
        ("cellmesh-bucket-epoch", "99"),
        ("cellmesh-map-epoch", "99"),
        ("cellmesh-cell", "c"),
        ("cellmesh-peer-token", TOKEN),
        ("cellmesh-made-up", "x"),
    ];
    for (home, hops) in [("a", "0"), ("b", "1")] {
        let answer = call(&mut caller, "Put", &put(account(home, 0)), &forged).await;
        assert_eq!(echoed(&answer), home);
        assert_eq!(answer.header("cellmesh-hops"), Some(hops));
        let seen = if home == "a" { here.seen() } else { there.seen() };
        assert_eq!(seen[0].header("cellmesh-hops"), Some(hops));
        assert_eq!(seen[0].header("cellmesh-user-epoch").unwrap_or("0"), "0");
        assert_eq!(seen[0].header("cellmesh-bucket-epoch").unwrap_or("0"), "0");
        assert_eq!(seen[0].header("cellmesh-map-epoch"), Some("1"));
        assert_eq!(seen[0].header("cellmesh-cell"), None);
        assert_eq!(seen[0].header("cellmesh-made-up"), None);
        assert_eq!(seen[0].header("cellmesh-peer-token"), Some(TOKEN), "instances believe the router by its token");
    }
}

#[tokio::test]
async fn a_peer_is_believed_by_its_token_only() {
    let here = Upstream::named("a").await;
    let router = start(&[&here], &[]).await;
    let mut caller = router.peer_caller().await;
    let message = put(account("a", 0));
    for extra in [&[][..], &[("cellmesh-peer-token", "not-the-token-of-tests")]] {
        let answer = call(&mut caller, "Put", &message, extra).await;
        assert_eq!(refused(&answer), (Code::Unauthenticated, "UNAUTHENTICATED_PEER".into()));
    }
    let peer = [("cellmesh-peer-token", TOKEN), ("cellmesh-hops", "1"), ("cellmesh-user-epoch", "4")];
    let answer = call(&mut caller, "Put", &message, &peer).await;
    assert_eq!(echoed(&answer), "a");
    assert_eq!(answer.header("cellmesh-hops"), Some("1"));
    assert_eq!(here.seen()[0].header("cellmesh-hops"), Some("1"));
    assert_eq!(here.seen()[0].header("cellmesh-user-epoch"), Some("4"), "the local service judges by these epochs");
}

#[tokio::test]
async fn two_routers_make_one_hop_and_name_who_served() {
    let (in_a, in_b) = (Upstream::named("a").await, Upstream::named("b").await);
    let second = start_with(config("b", &[in_b.address], &[]), map()).await;
    second.reaches(&["b"]).await;
    let first = start_with(config("a", &[in_a.address], &[("b", second.peer())]), map()).await;
    first.reaches(&["a", "b"]).await;
    let answer = call(&mut first.caller().await, "Put", &put(account("b", 0)), &[]).await;
    assert_eq!(echoed(&answer), "b");
    assert_eq!(answer.header("cellmesh-cell"), Some("b"));
    assert_eq!(answer.header("cellmesh-hops"), Some("1"));
    assert_eq!(in_b.seen()[0].header("cellmesh-hops"), Some("1"));
}

#[tokio::test]
async fn a_request_at_hop_one_is_not_forwarded_again() {
    let (here, there) = (Upstream::named("a").await, Upstream::named("b").await);
    let router = start(&[&here], &[("b", &there)]).await;
    let mut caller = router.peer_caller().await;
    let peer = [("cellmesh-peer-token", TOKEN), ("cellmesh-hops", "1")];
    // This router's map names `b`, but the peer's may be newer: the local service judges.
    let answer = call(&mut caller, "Put", &put(account("b", 0)), &peer).await;
    assert_eq!(echoed(&answer), "a");
    let twice = [("cellmesh-peer-token", TOKEN), ("cellmesh-hops", "2")];
    let answer = call(&mut caller, "Put", &put(account("a", 0)), &twice).await;
    assert_eq!(refused(&answer), (Code::Internal, "TOO_MANY_HOPS".into()));
    assert_eq!(router.router.brain().events.hops_refused.load(std::sync::atomic::Ordering::Relaxed), 1);
    assert!(there.seen().is_empty());
}

#[tokio::test]
async fn global_calls_go_to_the_global_cell_and_from_a_peer_no_further() {
    let (here, global) = (Upstream::named("b").await, Upstream::named("a").await);
    let router = start_with(config("b", &[here.address], &[("a", global.address)]), map()).await;
    router.reaches(&["a", "b"]).await;
    let answer = call(&mut router.caller().await, "Publish", &text(1, "x"), &[]).await;
    assert_eq!(echoed(&answer), "a");
    let peer = [("cellmesh-peer-token", TOKEN), ("cellmesh-hops", "1")];
    let answer = call(&mut router.peer_caller().await, "Publish", &text(1, "x"), &peer).await;
    assert_eq!(refused(&answer), (Code::Internal, "TOO_MANY_HOPS".into()));
}

#[tokio::test]
async fn local_and_replicated_calls_leave_a_draining_cell_and_users_stay() {
    let (here, near, far) = (Upstream::named("a").await, Upstream::named("b").await, Upstream::named("c").await);
    let router = start(&[&here], &[("b", &near), ("c", &far)]).await;
    let mut caller = router.caller().await;
    assert_eq!(echoed(&call(&mut caller, "Count", &[], &[]).await), "a");
    let mut next = map().next();
    next.set_cell_state(&cell("a"), CellState::Draining).unwrap();
    router.maps.send_replace(std::sync::Arc::new(next.build().unwrap()));
    while echoed(&call(&mut caller, "Count", &[], &[]).await) == "a" {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    for method in ["Count", "Enrol"] {
        let answer = call(&mut caller, method, &[], &[]).await;
        assert_eq!(echoed(&answer), "b", "{method} goes to the nearest");
    }
    assert_eq!(echoed(&call(&mut caller, "Put", &put(account("a", 0)), &[]).await), "a");
}

#[tokio::test]
async fn local_calls_go_elsewhere_when_no_instance_is_here_and_users_of_a_dead_cell_learn_its_name() {
    let near = Upstream::named("b").await;
    let router = start(&[], &[("b", &near)]).await;
    let mut caller = router.caller().await;
    assert_eq!(echoed(&call(&mut caller, "Enrol", &[], &[]).await), "b");
    assert!(!router.router.is_ready(), "a router without an instance is not ready");
    for dead in ["a", "c"] {
        let answer = call(&mut caller, "Put", &put(account(dead, 0)), &[]).await;
        assert_eq!(refused(&answer), (Code::Unavailable, "CELL_UNREACHABLE".into()));
        assert_eq!(answer.error_info().unwrap().metadata["cell"], dead);
    }
}

#[tokio::test]
async fn a_router_whose_cell_is_not_in_the_map_says_so_by_reaching_none() {
    let mut other = cell_map::MapDraft::new(Incarnation::new(1));
    other.add_cell(cell_map::Cell::new(cell("z"), cell_map::RegionId::new("z").unwrap())).unwrap();
    other.set_global_cell(&cell("z")).spread_buckets().unwrap();
    let here = Upstream::named("a").await;
    let router = start_with(config("a", &[here.address], &[]), other.build().unwrap()).await;
    let answer = call(&mut router.caller().await, "Put", &put(7), &[]).await;
    assert_eq!(refused(&answer), (Code::Unavailable, "CELL_UNREACHABLE".into()));
    assert_eq!(answer.error_info().unwrap().metadata["cell"], "z");
}
