use super::*;
use crate::{
    CallOptions, Criticality, Settings,
    probe::{Client, Get, GetUser, Look, Probe, Put, User, ms, random},
};
use futures_util::{FutureExt as _, future::join_all};
use rand::RngExt as _;
use std::future::IntoFuture as _;
use tokio::time::{Instant as Clock, advance, sleep};

fn token(position: u64) -> Token {
    Token::new("bj-1".parse().expect("a cell"), 0, position)
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_misses_on_one_key_are_one_call() {
    let probe = Probe::slow(ms(5));
    let look = Client::<Look>::new(&probe.mesh());
    let answers = join_all((0..10_000).map(|_| look.get("ann").into_future())).await;
    assert_eq!(probe.count(), 1);
    let mut first = 0;
    for answer in answers {
        let reply = answer.expect("it is answered");
        assert_eq!(reply.value, User { user_id: "ann".into(), seen: 0 });
        first += usize::from(matches!(reply.source, Source::Remote { .. }));
    }
    assert_eq!(first, 1, "the others are coalesced");
    let stats = look.mesh.stats();
    let stats = stats.method("/test.Users/Look").expect("it was called");
    assert_eq!((stats.logical, stats.coalesced, stats.wire, stats.failed), (10_000, 9_999, 1, 0));
    println!("figure: coalesced_misses N=10000 rpcs=1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ten_thousand_tasks_on_four_threads_are_one_call() {
    let probe = Probe::slow(ms(500));
    let look = Arc::new(Client::<Look>::new(&probe.mesh()));
    let tasks = (0..10_000).map(|_| {
        let look = Arc::clone(&look);
        tokio::spawn(async move { look.get("ann").await.expect("it is answered").value.user_id })
    });
    assert!(join_all(tasks).await.into_iter().all(|id| id.expect("no panic") == "ann"));
    assert_eq!(probe.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_leader_harms_no_waiter() {
    let probe = Probe::slow(ms(10));
    let look = Client::<Look>::new(&probe.mesh());
    let mut leader = look.get("ann").into_future();
    assert!((&mut leader).now_or_never().is_none());
    let mut waiters = Box::pin(join_all((0..5).map(|_| look.get("ann").into_future())));
    assert!((&mut waiters).now_or_never().is_none());
    drop(leader);
    assert!(waiters.await.into_iter().all(|answer| answer.is_ok()));
    assert_eq!((probe.count(), probe.flying()), (1, 0));
    assert!(!probe.sent()[0].cancelled);
}

#[tokio::test(start_paused = true)]
async fn when_all_are_gone_the_call_is_cancelled_and_the_next_makes_another() {
    let probe = Probe::slow(ms(10));
    let look = Client::<Look>::new(&probe.mesh());
    let mut waiters: Vec<_> = (0..5).map(|_| look.get("ann").into_future()).collect();
    assert!(waiters.iter_mut().all(|waiter| waiter.now_or_never().is_none()));
    assert_eq!(probe.flying(), 1);
    drop(waiters);
    assert_eq!(probe.flying(), 0);
    assert!(probe.sent()[0].cancelled);
    look.get("ann").await.expect("it is answered");
    assert_eq!(probe.count(), 2);
    assert!(look.slot.0.flights.table().flights.is_empty(), "nothing is left behind");
}

#[tokio::test(start_paused = true)]
async fn what_differs_in_anything_is_not_coalesced() {
    let probe = Probe::slow(ms(5));
    let mesh = probe.mesh();
    let look = Client::<Look>::new(&mesh);
    let (put, off) = (Client::<Put>::new(&mesh), CallOptions { no_coalescing: true, ..CallOptions::default() });
    let masked = || look.call(GetUser { user_id: "ann".into(), mask: "m".into() });
    let calls = [
        look.get("ann").into_future(),
        look.get("bob").into_future(),
        masked().into_future(),
        look.get("ann").principal("carl").into_future(),
        look.get("ann").principal("dora").into_future(),
        look.get("ann").priority(Criticality::NonCore).into_future(),
        look.get("ann").options(CallOptions { no_retry: true, ..CallOptions::default() }).into_future(),
        look.get("ann").fresh(Fresh::AtLeast(token(1))).into_future(),
        look.get("ann").options(off).into_future(),
        look.get("ann").authoritative().into_future(),
        look.get("ann").authoritative().into_future(),
        look.get("ann").metadata("a", "b").expect("metadata").into_future(),
        look.get("ann").metadata("a", "b").expect("metadata").into_future(),
    ];
    let n = calls.len();
    let answers = join_all(calls).await;
    assert!(answers.into_iter().all(|answer| matches!(answer.expect("ok").source, Source::Remote { .. })));
    assert_eq!(probe.count(), n);
    let batchless = CallOptions { no_batch: true, ..CallOptions::default() };
    let writes = (0..3).map(|_| put.get("ann").options(batchless.clone()).into_future());
    join_all(writes).await;
    assert_eq!(probe.count(), n + 3, "writes never are");
}

#[tokio::test(start_paused = true)]
async fn settings_and_restrictions_switch_it_off() {
    let probe = Probe::slow(ms(5));
    let look = Client::<Look>::new(&probe.mesh_with(Settings { coalescing: false, ..Settings::default() }));
    join_all((0..4).map(|_| look.get("ann").into_future())).await;
    assert_eq!(probe.count(), 4);

    let look = Client::<Look>::new(&probe.mesh());
    let method = mesh_proto::control_v1::MethodRestriction {
        method: "/test.Users/Look".into(),
        no_coalescing: true,
        ..Default::default()
    };
    let restrictions = mesh_proto::control_v1::Restrictions { methods: vec![method], ..Default::default() };
    look.mesh.restrict((&restrictions).into());
    join_all((0..4).map(|_| look.get("ann").into_future())).await;
    assert_eq!(probe.count(), 8);
    look.mesh.restrict(crate::restrict::Restrictions::default());
    join_all((0..4).map(|_| look.get("ann").into_future())).await;
    assert_eq!(probe.count(), 9, "they are lifted");
}

/// How many calls it takes if the second one is made 3 ms after the first, which is on its way.
async fn calls_of(first: Fresh, second: Fresh) -> usize {
    let probe = Probe::slow(ms(10));
    let look = Client::<Look>::new(&probe.mesh());
    let mut first = look.get("ann").fresh(first).into_future();
    assert!((&mut first).now_or_never().is_none());
    advance(ms(3)).await;
    let (one, two) = tokio::join!(first, look.get("ann").fresh(second));
    assert!(one.is_ok() && two.is_ok());
    probe.count()
}

#[tokio::test(start_paused = true)]
async fn a_token_joins_only_flights_that_show_it() {
    let at_least = |position| Fresh::AtLeast(token(position));
    assert_eq!(calls_of(Fresh::Any, at_least(5)).await, 2, "nobody knows when that write was acknowledged");
    assert_eq!(calls_of(at_least(4), at_least(5)).await, 2);
    assert_eq!(calls_of(at_least(5), at_least(5)).await, 1);
    assert_eq!(calls_of(at_least(6), at_least(5)).await, 1);
    let moved = Fresh::AtLeast(Token::new("sh-1".parse().expect("a cell"), 1, 2));
    assert_eq!(calls_of(moved.clone(), at_least(5)).await, 1, "a later owner continues the count");
    assert_eq!(calls_of(at_least(5), moved).await, 2);
}

#[tokio::test(start_paused = true)]
async fn an_age_joins_only_flights_that_are_young_enough() {
    assert_eq!(calls_of(Fresh::Any, Fresh::MaxAge(ms(2))).await, 2);
    assert_eq!(calls_of(Fresh::Any, Fresh::MaxAge(ms(3))).await, 1);
    assert_eq!(calls_of(Fresh::MaxAge(ms(0)), Fresh::StaleIfError(ms(1))).await, 1);
    assert_eq!(calls_of(Fresh::Any, Fresh::Authoritative).await, 2);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_was_acknowledged_is_read_with_its_token() {
    // The first read is on its way when the write happens, and shows what was before.
    let probe = Probe::slow(ms(10));
    let look = Client::<Look>::new(&probe.mesh());
    let mut before = look.get("ann").into_future();
    assert!((&mut before).now_or_never().is_none());
    let put = Client::<Put>::new(&look.mesh);
    let written = put.get("ann").await.expect("it is written").token.expect("a token");
    let after = look.get("ann").fresh(Fresh::AtLeast(written)).await.expect("it is read");
    assert!(after.value.seen > 1, "read by a call that started later: {after:?}");
    assert_eq!(before.await.expect("it is read").value.seen, 0);
}

#[tokio::test(start_paused = true)]
async fn a_joiner_whose_deadline_is_later_goes_again_and_not_alone() {
    // Whoever asks first is never answered.
    let probe = Probe::new(|sent| (if sent.time() < ms(50) { ms(1000) } else { ms(5) }, None));
    let look = Client::<Look>::new(&probe.mesh());
    let hurried = look.get("ann").deadline(ms(20)).into_future();
    let patient = (0..100).map(|_| look.get("ann").deadline(ms(100)).into_future());
    let (hurried, patient) = tokio::join!(hurried, join_all(patient));
    assert_eq!(hurried.expect_err("too late").code(), Code::DeadlineExceeded);
    assert!(patient.into_iter().all(|answer| answer.is_ok()));
    assert_eq!(probe.count(), 2, "the hundred go again as one");
    assert_eq!(look.slot.0.counts.stats("").retried, 100);
}

#[tokio::test(start_paused = true)]
async fn a_joiner_whose_deadline_is_earlier_ends_by_it() {
    let probe = Probe::slow(ms(50));
    let look = Client::<Look>::new(&probe.mesh());
    let began = Clock::now();
    let hurried = async {
        tokio::task::yield_now().await;
        let error = look.get("ann").deadline(ms(20)).await.expect_err("too late");
        assert!(error.cell().is_some(), "it names the cell that it waited for");
        (error.code(), began.elapsed())
    };
    let (first, (code, took)) = tokio::join!(look.get("ann").into_future(), hurried);
    assert!(first.is_ok());
    assert_eq!(code, Code::DeadlineExceeded);
    assert!(took >= ms(20) && took < ms(25), "{took:?}");
    assert_eq!(probe.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn errors_are_shared_but_not_those_of_the_first_alone() {
    let error = |code| Some(Err(Error::new(code, "no")));
    for (code, calls) in [(Code::NotFound, 1), (Code::Unavailable, 1), (Code::Internal, 1), (Code::Cancelled, 3)] {
        let probe = Probe::new(move |_| (ms(5), error(code)));
        let look = Client::<Look>::new(&probe.mesh());
        let answers = join_all((0..50).map(|_| look.get("ann").into_future())).await;
        assert!(answers.into_iter().all(|answer| answer.expect_err("it fails").code() == code));
        // CANCELLED: once together, once together again, and then each of the 48 by itself.
        let expected = if calls == 1 { 1 } else { 2 + 48 };
        assert_eq!(probe.count(), expected, "{code:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_that_nobody_can_meet_harms_only_him_who_has_it() {
    let wrong = token(u64::MAX);
    let unmet = wrong.clone();
    let probe = Probe::new(move |sent| match &sent.call.fresh {
        Fresh::AtLeast(token) if *token == unmet => (ms(5), Some(Err(Error::new(Code::Unavailable, "not yet")))),
        _ => (ms(5), None),
    });
    let look = Client::<Look>::new(&probe.mesh());
    let wrong = look.get("ann").fresh(Fresh::AtLeast(wrong)).into_future();
    let right = look.get("ann").fresh(Fresh::AtLeast(token(5))).into_future();
    let (wrong, right) = tokio::join!(wrong, right);
    assert!(wrong.is_err() && right.is_ok());
}

#[tokio::test(start_paused = true)]
async fn too_many_for_one_flight_take_another_and_nobody_gets_nothing() {
    let probe = Probe::slow(ms(5));
    let look = Client::<Look>::new(&probe.mesh());
    let n = 2 * MOST_CALLERS as usize + 5;
    let answers = join_all((0..n).map(|_| look.get("ann").into_future())).await;
    assert!(answers.into_iter().all(|answer| answer.expect("it is answered").value.user_id == "ann"));
    assert_eq!(probe.count(), 3);
}

#[tokio::test(start_paused = true)]
async fn random_schedules_give_each_caller_his_own_answer() {
    let mut rng = random("random_schedules_give_each_caller_his_own_answer");
    let rounds = 60;
    for _ in 0..rounds {
        let (delay, fails) = (rng.random_range(1..8), rng.random_range(0..4));
        let probe = Probe::new(move |sent| {
            let error =
                (sent.users[0].ends_with('3') && fails == 0).then(|| Err(Error::new(Code::Unavailable, "down")));
            (ms(delay), error)
        });
        // Without batches, so that one rung is tried.
        let look = Arc::new(Client::<Get>::new(&probe.mesh_with(Settings { batching: false, ..Settings::default() })));
        let callers = (0..200).map(|_| {
            let (start, user) = (rng.random_range(0..20), format!("u{}", rng.random_range(0..6)));
            let deadline: u64 = rng.random_range(1..15);
            let patience: u64 = rng.random_range(1..15);
            let fresh = match rng.random_range(0..5) {
                0 => Fresh::AtLeast(token(rng.random_range(0..4))),
                1 => Fresh::MaxAge(ms(rng.random_range(0..4))),
                _ => Fresh::Any,
            };
            let look = Arc::clone(&look);
            tokio::spawn(async move {
                sleep(ms(start)).await;
                let began = Clock::now();
                let call = look.get(user.clone()).fresh(fresh).deadline(ms(deadline)).into_future();
                let Ok(answer) = tokio::time::timeout(ms(patience), call).await else { return };
                assert!(began.elapsed() <= ms(deadline) + ms(1), "{:?} of {deadline} ms", began.elapsed());
                match answer {
                    Ok(reply) => assert_eq!(reply.value.user_id, user),
                    Err(error) if error.code() == Code::Unavailable => assert!(user.ends_with('3') && fails == 0),
                    Err(error) => assert_eq!(error.code(), Code::DeadlineExceeded, "{error}"),
                }
            })
        });
        for caller in join_all(callers.collect::<Vec<_>>()).await {
            caller.expect("no panic");
        }
        assert_eq!(probe.flying(), 0);
        assert!(look.slot.0.flights.table().flights.is_empty());
        let stats = look.slot.0.counts.stats("");
        assert_eq!((stats.logical, stats.wire), (200, probe.count() as u64));
        assert!(stats.wire < 200, "some were coalesced");
    }
    println!("figure: flight_schedules N={}", rounds * 200);
}
