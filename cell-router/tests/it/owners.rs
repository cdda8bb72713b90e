//! Redirects and moves (OWN-8, OWN-9).

use crate::support::*;
use mesh_layers::MeshError;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tonic::Code;

#[tokio::test]
async fn a_stale_map_is_cured_by_one_learnt_redirect() {
    let here = Upstream::named("a").await;
    let stale = Upstream::start(|asked| async move { asked.wrong_cell("c", epochs(0, 2), true) }).await;
    let owner = Upstream::named("c").await;
    let router = start(&[&here], &[("b", &stale), ("c", &owner)]).await;
    let mut caller = router.caller().await;
    let message = put(account("b", 0));
    for _ in 0..5 {
        let answer = call(&mut caller, "Put", &message, &[]).await;
        assert_eq!(echoed(&answer), "c");
        assert_eq!(answer.header("cellmesh-hops"), Some("1"));
    }
    assert_eq!(stale.seen().len(), 1, "the redirect is remembered");
    let seen = owner.seen();
    assert_eq!(seen.len(), 5);
    assert!(seen.iter().all(|call| call.header("cellmesh-bucket-epoch") == Some("2")), "asked with the epochs learnt");
    assert!(seen.iter().all(|call| call.header("cellmesh-hops") == Some("1")));
}

#[tokio::test]
async fn a_redirect_home_makes_no_hop() {
    let here = Upstream::named("a").await;
    let stale = Upstream::start(|asked| async move { asked.wrong_cell("a", epochs(3, 1), true) }).await;
    let router = start(&[&here], &[("b", &stale)]).await;
    let answer = call(&mut router.caller().await, "Put", &put(account("b", 0)), &[]).await;
    assert_eq!(echoed(&answer), "a");
    assert_eq!(answer.header("cellmesh-hops"), Some("0"));
    assert_eq!(here.seen()[0].header("cellmesh-user-epoch"), Some("3"));
}

#[tokio::test]
async fn what_may_have_been_processed_is_not_sent_again() {
    let here = Upstream::named("a").await;
    let stale = Upstream::start(|asked| async move { asked.wrong_cell("c", epochs(0, 2), false) }).await;
    let owner = Upstream::named("c").await;
    let router = start(&[&here], &[("b", &stale), ("c", &owner)]).await;
    let answer = call(&mut router.caller().await, "Put", &put(account("b", 0)), &[]).await;
    assert_eq!(refused(&answer), (Code::Aborted, "MOVED".into()));
    assert!(owner.seen().is_empty());
}

#[tokio::test]
async fn a_large_message_is_not_sent_again() {
    let here = Upstream::named("a").await;
    let stale = Upstream::start(|asked| async move { asked.wrong_cell("c", epochs(0, 2), true) }).await;
    let owner = Upstream::named("c").await;
    let router = start(&[&here], &[("b", &stale), ("c", &owner)]).await;
    let mut caller = router.caller().await;
    let large = [put(account("b", 0)), text(15, &"x".repeat(70_000))].concat();
    let answer = call(&mut caller, "Put", &large, &[]).await;
    assert_eq!(refused(&answer), (Code::Unavailable, "MOVED".into()));
    assert_eq!(answer.error_info().unwrap().metadata["owner"], "c");
    // Its redirect was learnt all the same.
    assert_eq!(echoed(&call(&mut caller, "Put", &large, &[]).await), "c");
}

#[tokio::test]
async fn cells_that_point_at_each_other_end_the_call() {
    let here = Upstream::named("a").await;
    let b = Upstream::start(|asked| async move {
        let n = asked.number as u64;
        asked.wrong_cell("c", epochs(0, 2 * n + 2), true);
    });
    let c = Upstream::start(|asked| async move {
        let n = asked.number as u64;
        asked.wrong_cell("b", epochs(0, 2 * n + 3), true);
    });
    let (b, c) = (b.await, c.await);
    let router = start(&[&here], &[("b", &b), ("c", &c)]).await;
    let answer = call(&mut router.caller().await, "Put", &put(account("b", 0)), &[]).await;
    assert_eq!(refused(&answer), (Code::Unavailable, "MOVED".into()));
    assert_eq!(b.seen().len() + c.seen().len(), 4, "the first attempt and three redirects");
}

#[tokio::test]
async fn an_older_owner_is_not_believed() {
    let here = Upstream::named("a").await;
    let liar = Upstream::start(|asked| async move { asked.wrong_cell("c", epochs(1, 1), true) }).await;
    let owner = Upstream::named("c").await;
    let mut next = draft();
    let user = account("a", 0);
    let key = cell_map::UserKey::from_i64(user).unwrap();
    next.pin(key, &cell("b"), cell_map::UserEpoch::new(5)).unwrap();
    let config = config("a", &[here.address], &[("b", liar.address), ("c", owner.address)]);
    let router = start_with(config, next.build().unwrap()).await;
    router.reaches(&["a", "b", "c"]).await;
    let answer = call(&mut router.caller().await, "Put", &put(user), &[]).await;
    assert_eq!(refused(&answer), (Code::Unavailable, "MOVED".into()));
    assert_eq!(liar.seen()[0].header("cellmesh-user-epoch"), Some("5"), "a pin's epoch is asked with");
    assert!(owner.seen().is_empty());
}

#[tokio::test]
async fn at_hop_one_the_answer_is_passed_back_with_its_mark() {
    let here = Upstream::start(|asked| async move { asked.wrong_cell("b", epochs(2, 1), true) }).await;
    let there = Upstream::named("b").await;
    let router = start(&[&here], &[("b", &there)]).await;
    let peer = [("cellmesh-peer-token", TOKEN), ("cellmesh-hops", "1")];
    let answer = call(&mut router.peer_caller().await, "Put", &put(account("a", 0)), &peer).await;
    assert_eq!(refused(&answer), (Code::FailedPrecondition, "WRONG_CELL".into()));
    assert_eq!(answer.header("cellmesh-unprocessed"), Some("1"));
    assert_eq!(answer.header("cellmesh-cell"), Some("a"));
    assert!(there.seen().is_empty());
}

#[tokio::test]
async fn a_moving_user_is_parked_then_served() {
    let moving = Arc::new(AtomicBool::new(true));
    let flag = Arc::clone(&moving);
    let here = Upstream::start(move |asked| {
        let moving = flag.load(Ordering::SeqCst);
        async move {
            match moving {
                true => asked.fail(MeshError::moving(Duration::from_millis(20)), true),
                false => asked.echo(&["moved"]),
            }
        }
    });
    let here = here.await;
    let router = start(&[&here], &[]).await;
    let mut caller = router.caller().await;
    let begun = Instant::now();
    let message = put(account("a", 0));
    let (answer, ()) = tokio::join!(call(&mut caller, "Put", &message, &[]), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        moving.store(false, Ordering::SeqCst);
    });
    assert_eq!(echoed(&answer), "moved");
    assert!(begun.elapsed() >= Duration::from_millis(300));
    assert!(here.seen().len() > 3, "asked {} times", here.seen().len());
}

#[tokio::test]
async fn parking_ends_at_the_deadline() {
    let here = Upstream::start(|asked| async move { asked.fail(MeshError::moving(Duration::from_millis(20)), true) });
    let here = here.await;
    let router = start(&[&here], &[]).await;
    let begun = Instant::now();
    let answer = call(&mut router.caller().await, "Put", &put(account("a", 0)), &[("grpc-timeout", "300m")]).await;
    assert_eq!(refused(&answer), (Code::DeadlineExceeded, "DEADLINE_EXCEEDED".into()));
    assert!(begun.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn parked_bytes_are_bounded() {
    let here = Upstream::start(|asked| async move { asked.fail(MeshError::moving(Duration::from_millis(20)), true) });
    let here = here.await;
    let mut config = config("a", &[here.address], &[]);
    config.router.park_bytes = 6_000;
    let router = start_with(config, map()).await;
    router.reaches(&["a"]).await;
    let (mut one, mut two) = (router.caller().await, router.caller().await);
    let (message, timeout) = (put(account("a", 0)), [("grpc-timeout", "500m")]);
    let (one, two) = tokio::join!(call(&mut one, "Put", &message, &timeout), call(&mut two, "Put", &message, &timeout));
    let mut reasons = [refused(&one).1, refused(&two).1];
    reasons.sort();
    assert_eq!(reasons, ["DEADLINE_EXCEEDED", "MOVING"], "the second finds no room and is told to come again");
    assert_eq!(router.router.brain().parked_bytes.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_newer_map_overrules_what_was_learnt() {
    let here = Upstream::named("a").await;
    let b = Upstream::start(|asked| async move {
        match asked.number {
            0 => asked.wrong_cell("c", epochs(2, 1), true),
            _ => asked.echo(&["b"]),
        }
    });
    let b = b.await;
    let c = Upstream::named("c").await;
    let router = start(&[&here], &[("b", &b), ("c", &c)]).await;
    let mut caller = router.caller().await;
    let user = account("b", 0);
    assert_eq!(echoed(&call(&mut caller, "Put", &put(user), &[]).await), "c");
    let mut next = map().next();
    next.pin(cell_map::UserKey::from_i64(user).unwrap(), &cell("b"), cell_map::UserEpoch::new(3)).unwrap();
    router.maps.send_replace(Arc::new(next.build().unwrap()));
    let deadline = Instant::now() + Duration::from_secs(5);
    while echoed(&call(&mut caller, "Put", &put(user), &[]).await) != "b" {
        assert!(Instant::now() < deadline, "the map's higher epoch is not believed");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(router.router.brain().redirects(), 0);
}
