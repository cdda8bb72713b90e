use super::*;
use crate::{
    Code,
    probe::{Client, Get, Look, Probe, Put, ms},
};
use futures_util::FutureExt as _;
use std::future::IntoFuture as _;

fn users(probe: &Probe) -> Vec<usize> {
    probe.sent().iter().map(|sent| sent.users.len()).collect()
}

#[tokio::test(start_paused = true)]
async fn look_ups_of_a_loop_are_one_call() {
    let probe = Probe::slow(ms(5));
    let get = Client::<Get>::new(&probe.mesh());
    let scope = RequestScope::default();
    let answers = scope.load_all((0..20).map(|number| get.get(format!("u{}", number % 15)))).await;
    for (number, answer) in answers.into_iter().enumerate() {
        assert_eq!(answer.expect("it is answered").value.user_id, format!("u{}", number % 15));
    }
    assert_eq!(users(&probe), [15], "a first call does not go before them, and none goes twice");
    let stats = get.mesh.stats();
    let stats = stats.method("/test.Users/Get").expect("it was called");
    assert_eq!((stats.logical, stats.remembered, stats.wire), (20, 5, 1));
}

#[tokio::test(start_paused = true)]
async fn tasks_of_one_request_share_calls_too() {
    let probe = Probe::slow(ms(5));
    let get = Arc::new(Client::<Get>::new(&probe.mesh()));
    let scope = RequestScope::default();
    let tasks = (0..10).map(|number| {
        let (get, scope) = (Arc::clone(&get), scope.clone());
        tokio::spawn(async move { scope.load(get.get(format!("u{number}"))).await.expect("it is answered") })
    });
    join_all(tasks.collect::<Vec<_>>()).await;
    assert_eq!(users(&probe), [10]);
}

#[tokio::test(start_paused = true)]
async fn what_was_read_is_not_asked_for_again_within_one_request() {
    let probe = Probe::slow(ms(5));
    let look = Client::<Look>::new(&probe.mesh());
    let scope = RequestScope::default();
    for round in 0..3 {
        let reply = scope.load(look.get("ann")).await.expect("it is answered");
        assert_eq!(reply.value.user_id, "ann");
        assert_eq!(matches!(reply.source, Source::Remembered { cell: Some(_) }), round > 0);
    }
    scope.load(look.get("bob")).await.expect("it is answered");
    scope.load(look.get("ann").principal("carl")).await.expect("it is answered");
    assert_eq!(probe.count(), 3);
    RequestScope::default().load(look.get("ann")).await.expect("it is answered");
    assert_eq!(probe.count(), 4, "another request asks anew");
}

#[tokio::test(start_paused = true)]
async fn users_whom_the_message_does_not_name_do_not_get_each_others_answers() {
    let probe = Probe::slow(ms(5));
    let look = Client::<Look>::new(&probe.mesh());
    let scope = RequestScope::default();
    for (user, calls) in [("carl", 1), ("dora", 2), ("carl", 2)] {
        let call = look.get("").user_key(user).expect("a key");
        scope.load(call).await.expect("it is answered");
        assert_eq!(probe.count(), calls, "{user}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_joins_a_load_keeps_his_own_deadline() {
    let probe = Probe::slow(ms(500));
    let look = Client::<Look>::new(&probe.mesh());
    let scope = RequestScope::default();
    let patient = scope.load(look.get("ann").deadline(ms(2_000)));
    let hurried = async {
        tokio::task::yield_now().await;
        let start = tokio::time::Instant::now();
        let error = scope.load(look.get("ann").deadline(ms(30))).await.expect_err("too late");
        assert!(error.cell().is_some(), "it names the cell that it waited for");
        assert_eq!((error.code(), start.elapsed()), (Code::DeadlineExceeded, ms(30)));
    };
    let (answer, ()) = futures_util::join!(patient, hurried);
    answer.expect("the other is not harmed");
}

#[tokio::test(start_paused = true)]
async fn calls_that_want_to_be_fresh_go_through() {
    let probe = Probe::slow(ms(5));
    let look = Client::<Look>::new(&probe.mesh());
    let scope = RequestScope::default();
    for _ in 0..2 {
        scope.load(look.get("ann").authoritative()).await.expect("it is answered");
        scope.load(look.get("ann").fresh(Fresh::MaxAge(ms(1)))).await.expect("it is answered");
        scope
            .load(look.get("ann").fresh(Fresh::AtLeast("bj-1;0;1".parse().expect("a token"))))
            .await
            .expect("it is answered");
        scope.load(look.get("ann").metadata("a", "b").expect("metadata")).await.expect("it is answered");
    }
    assert_eq!(probe.count(), 8);
}

#[tokio::test(start_paused = true)]
async fn a_write_through_the_scope_makes_it_forget_reads_on_their_way_too() {
    let probe = Probe::new(|sent| (if sent.path.ends_with("Look") { ms(20) } else { ms(5) }, None));
    let look = Client::<Look>::new(&probe.mesh());
    let put = Client::<Put>::new(&look.mesh);
    let scope = RequestScope::default();
    scope.load(look.get("ann")).await.expect("it is answered");
    let mut flying = Box::pin(scope.load(look.get("bob")));
    assert!((&mut flying).now_or_never().is_none());
    scope.load(put.get("ann")).await.expect("it is written");
    flying.await.expect("it is answered");
    let before = probe.count();
    scope.load(look.get("ann")).await.expect("it is answered");
    scope.load(look.get("bob")).await.expect("it is answered");
    assert_eq!(probe.count(), before + 2);
}

#[tokio::test(start_paused = true)]
async fn errors_are_not_kept_and_not_shared() {
    let probe = Probe::new(|sent| match sent.time() {
        time if time < ms(10) => (ms(50), None),
        _ => (ms(5), None),
    });
    let look = Client::<Look>::new(&probe.mesh());
    let scope = RequestScope::default();
    let error = scope.load(look.get("none")).await.expect_err("no such user");
    assert_eq!(error.code(), Code::NotFound);
    assert!(scope.load(look.get("none")).await.is_err());
    assert_eq!(probe.count(), 2);
    let hurried = scope.load(look.get("ann").deadline(ms(8)));
    let (hurried, patient) = tokio::join!(hurried, scope.load(look.get("ann")));
    assert_eq!(hurried.expect_err("too late").code(), Code::DeadlineExceeded);
    assert_eq!(patient.expect("it asks by itself").value.user_id, "ann");
}

#[tokio::test(start_paused = true)]
async fn a_load_that_is_given_up_is_cancelled_and_asked_anew() {
    let probe = Probe::slow(ms(5));
    let look = Client::<Look>::new(&probe.mesh());
    let scope = RequestScope::default();
    let mut given_up = Box::pin(scope.load(look.get("ann")));
    assert!((&mut given_up).now_or_never().is_none());
    drop(given_up);
    assert_eq!(probe.flying(), 0);
    scope.load(look.get("ann")).await.expect("it is answered");
    assert_eq!((probe.count(), scope.memory().len), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn what_a_scope_keeps_is_bounded() {
    let probe = Probe::slow(ms(0));
    let look = Client::<Look>::new(&probe.mesh());
    let scope = RequestScope::default();
    let calls = (0..MOST_ANSWERS + 50).map(|number| look.get(format!("u{number}")));
    assert!(scope.load_all(calls).await.into_iter().all(|answer| answer.is_ok()));
    assert_eq!(scope.memory().len, MOST_ANSWERS);
    scope.clear();
    assert_eq!(scope.memory().len, 0);
    look.get("ann").into_future().await.expect("it is answered");
}
