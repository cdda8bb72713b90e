//! The batcher through calls. Time stands still, so that what is "at once" is.

mod failures;
mod schedules;
mod whole;

use super::lane::Lanes;
use crate::{
    Call, CallOptions, Code, Criticality, Error, Fresh, Method, Reply, Settings, Source, Token,
    probe::{BatchGet, BatchGetUsers, Client, Get, GetUser, MOST_ITEMS, Plan, Probe, Put, Sent, User, ms, random},
};
use futures_util::{FutureExt as _, future::join_all};
use rand::{RngExt as _, rngs::StdRng};
use std::{
    collections::{HashMap, HashSet},
    future::IntoFuture as _,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::time::{Instant as Clock, advance, sleep, timeout};

fn id(number: usize) -> String {
    format!("u{number}")
}

/// Asks for so many users at once.
async fn all(get: &Client<Get>, n: usize) -> Vec<Result<Reply<User>, Error>> {
    join_all((0..n).map(|number| get.get(id(number)).into_future())).await
}

fn answered(answers: Vec<Result<Reply<User>, Error>>) {
    for (number, answer) in answers.into_iter().enumerate() {
        assert_eq!(answer.expect("it is answered").value.user_id, id(number), "his own");
    }
}

fn sizes(probe: &Probe) -> Vec<usize> {
    probe.sent().iter().map(|sent| sent.users.len()).collect()
}

/// A call on its way.
fn start<'a, M: Method>(call: Call<'a, M>) -> crate::CallFuture<'a, M> {
    let mut call = call.into_future();
    assert!((&mut call).now_or_never().is_none(), "it takes time");
    call
}

#[tokio::test(start_paused = true)]
async fn a_lone_call_goes_at_once_by_itself() {
    let probe = Probe::slow(ms(3));
    let get = Client::<Get>::new(&probe.mesh());
    for number in 0..50 {
        let began = Clock::now();
        let reply = get.get(id(number)).await.expect("it is answered");
        assert!(matches!(reply.source, Source::Remote { .. }));
        assert_eq!(began.elapsed(), ms(3), "nothing is waited for");
    }
    assert!(probe.sent().iter().all(|sent| !sent.is_batch()));
}

#[tokio::test(start_paused = true)]
async fn a_thousand_single_gets_are_few_calls_and_each_has_his_own_result() {
    let probe = Probe::slow(ms(1));
    let get = Client::<Get>::new(&probe.mesh());
    let names = |number: usize| if number.is_multiple_of(10) { format!("none{number}") } else { id(number) };
    let answers = join_all((0..1000).map(|number| get.get(names(number)).into_future())).await;
    for (number, answer) in answers.into_iter().enumerate() {
        match answer {
            Ok(reply) => assert_eq!(reply.value.user_id, names(number)),
            Err(error) => {
                assert_eq!((error.code(), error.method()), (Code::NotFound, "/test.Users/Get"));
                assert_eq!(error.message(), format!("no user {}", names(number)));
            }
        }
    }
    // Twenty items at most in one: fifty-one at least.
    assert!(probe.count() <= 52, "{:?}", sizes(&probe));
    let stats = get.mesh.stats();
    let stats = stats.method("/test.Users/Get").expect("it was called");
    assert_eq!((stats.logical, stats.wire, stats.batches), (1000, probe.count() as u64, probe.count() as u64 - 1));
    assert_eq!((stats.batched, stats.batch_items, stats.largest_batch), (999, 999, u64::from(MOST_ITEMS)));
    println!("figure: batched_gets N=1000 rpcs={}", probe.count());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_tasks_on_four_threads_have_each_his_own_result() {
    let probe = Probe::slow(ms(2));
    let get = Arc::new(Client::<Get>::new(&probe.mesh()));
    for _ in 0..20 {
        let tasks = (0..1000).map(|number| {
            let get = Arc::clone(&get);
            tokio::spawn(async move { get.get(id(number)).await })
        });
        let answers = join_all(tasks.collect::<Vec<_>>()).await;
        answered(answers.into_iter().map(|answer| answer.expect("no panic")).collect());
    }
    let stats = get.slot.0.counts.stats("");
    assert_eq!((stats.logical, stats.retried, stats.failed), (20_000, 0, 0));
    assert_eq!(probe.flying(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_gathers_goes_when_the_call_before_returns() {
    let probe = Probe::new(|sent| (if sent.is_batch() { ms(5) } else { ms(10) }, None));
    let slow = Settings { batch_wait: ms(1000), ..Settings::default() };
    let get = Client::<Get>::new(&probe.mesh_with(slow));
    let began = Clock::now();
    answered(all(&get, 6).await);
    assert_eq!(began.elapsed(), ms(15));
    assert_eq!(sizes(&probe), [1, 5]);
}

#[tokio::test(start_paused = true)]
async fn what_gathers_does_not_wait_for_a_slow_link() {
    let probe = Probe::slow(ms(30));
    let get = Client::<Get>::new(&probe.mesh());
    let began = Clock::now();
    answered(all(&get, 6).await);
    // The timer's grain is a millisecond.
    assert!(began.elapsed() <= ms(33), "{:?}", began.elapsed());
    assert_eq!(sizes(&probe), [1, 5]);
}

#[tokio::test(start_paused = true)]
async fn what_is_full_goes_at_once() {
    let probe = Probe::slow(ms(30));
    let slow = Settings { batch_wait: ms(1000), ..Settings::default() };
    let get = Client::<Get>::new(&probe.mesh_with(slow));
    let began = Clock::now();
    answered(all(&get, 1 + 3 * MOST_ITEMS as usize).await);
    assert_eq!(began.elapsed(), ms(30));
    assert_eq!(sizes(&probe), [1, 20, 20, 20]);
}

#[tokio::test(start_paused = true)]
async fn bytes_fill_a_batch_too_and_what_never_fits_goes_alone() {
    let probe = Probe::slow(ms(30));
    let get = Client::<Get>::new(&probe.mesh());
    let big = |number: usize, kib: usize| GetUser { user_id: id(number), mask: "m".repeat(kib << 10) };
    let calls = (0..7).map(|number| get.call(big(number, 20)).into_future());
    answered(join_all(calls).await);
    assert_eq!(sizes(&probe), [1, 3, 3]);
    assert!(probe.sent().iter().all(|sent| sent.call.frame.len() <= mesh_routing::retry::REPLAY_BYTES));
    let calls = (0..3).map(|number| get.call(big(number, 70)).into_future());
    answered(join_all(calls).await);
    assert_eq!(sizes(&probe)[3..], [1, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn in_a_dense_row_the_first_waits_for_the_others() {
    let probe = Probe::slow(ms(2));
    let get = Client::<Get>::new(&probe.mesh());
    answered(all(&get, 100).await);
    let before = probe.count();
    answered(all(&get, 15).await);
    assert_eq!(sizes(&probe)[before..], [15], "no single call goes before them");
    // Calls one after another are no row.
    for number in 0..20 {
        get.get(id(number)).await.expect("it is answered");
    }
    let before = probe.count();
    answered(all(&get, 15).await);
    assert_eq!(sizes(&probe)[before..], [1, 14]);
}

#[tokio::test(start_paused = true)]
async fn only_calls_that_may_share_do() {
    let probe = Probe::slow(ms(5));
    let mesh = probe.mesh();
    let get = Client::<Get>::new(&mesh);
    let masked = |number| get.call(GetUser { user_id: id(number), mask: "m".into() });
    let no_batch = CallOptions { no_batch: true, ..CallOptions::default() };
    let no_retry = CallOptions { no_retry: true, ..CallOptions::default() };
    // The first of each kind goes alone, the next two together.
    let calls = (0..3).flat_map(|n| {
        [
            get.get(id(n)).into_future(),
            masked(n).into_future(),
            get.get(id(n)).principal("carl").into_future(),
            get.get(id(n)).principal("dora").into_future(),
            get.get(id(n)).priority(Criticality::NonCore).into_future(),
            get.get(id(n)).options(no_retry.clone()).into_future(),
            get.get(format!("sh-1/{n}")).into_future(),
        ]
    });
    join_all(calls).await.into_iter().for_each(|answer| drop(answer.expect("it is answered")));
    let sent = probe.sent();
    assert_eq!(sizes(&probe), [[1; 7], [2; 7]].concat());
    let of = |pick: fn(&Sent) -> bool| sent.iter().filter(|sent| pick(sent)).count();
    assert_eq!(of(|sent| sent.users.iter().all(|user| user.starts_with("sh-1/"))), 2);
    assert_eq!(of(|sent| sent.call.wants.no_retry), 2);

    let calls = (0..3).flat_map(|n| {
        let metadata = get.get(id(n)).metadata("a", "b").expect("metadata");
        [metadata.into_future(), get.get(id(n)).options(no_batch.clone()).into_future()]
    });
    join_all(calls).await.into_iter().for_each(|answer| drop(answer.expect("it is answered")));
    assert_eq!(sizes(&probe)[14..], [1; 6]);
}

#[tokio::test(start_paused = true)]
async fn a_user_who_is_not_named_is_the_callers_mistake_alone() {
    let probe = Probe::slow(ms(5));
    let get = Client::<Get>::new(&probe.mesh());
    let calls = ["ann", "", "bob", "carl"].map(|user| get.get(user).into_future());
    join_all(calls).await;
    assert_eq!(probe.sent().iter().filter(|sent| sent.users.contains(&String::new())).count(), 1);
    assert_eq!(sizes(&probe), [1, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn settings_and_restrictions_switch_it_off() {
    let probe = Probe::slow(ms(5));
    let get = Client::<Get>::new(&probe.mesh_with(Settings { batching: false, ..Settings::default() }));
    answered(all(&get, 4).await);
    let get = Client::<Get>::new(&probe.mesh());
    let every = mesh_proto::control_v1::MethodRestriction { method: "*".into(), no_batch: true, ..Default::default() };
    let restrictions = mesh_proto::control_v1::Restrictions { methods: vec![every], ..Default::default() };
    get.mesh.restrict((&restrictions).into());
    answered(all(&get, 4).await);
    assert_eq!(sizes(&probe), [1; 8]);
}

#[tokio::test(start_paused = true)]
async fn equal_items_are_sent_once_and_writes_never_are_equal() {
    let probe = Probe::slow(ms(5));
    let mesh = probe.mesh();
    let get = Client::<Get>::new(&mesh);
    // Authoritative calls are not coalesced, so that they meet in the batch.
    let users = ["ann", "bob", "bob", "carl", "bob"];
    let answers = join_all(users.map(|user| get.get(user).authoritative().into_future())).await;
    for (user, answer) in users.iter().zip(answers) {
        assert_eq!(&answer.expect("it is answered").value.user_id, user);
    }
    assert_eq!(probe.sent()[1].users, ["bob", "carl"]);

    let answers = join_all(["ann", "bob", "bob"].map(|user| get.get(user).authoritative().into_future())).await;
    let sources = answers.into_iter().map(|answer| answer.expect("it is answered").source).collect::<Vec<_>>();
    assert!(
        matches!(&sources[..], [Source::Remote { .. }, Source::Coalesced { .. }, Source::Remote { .. }]),
        "{sources:?}"
    );
    assert_eq!(probe.sent()[3].path, "/test.Users/Get", "a batch of one is no batch");

    let put = Client::<Put>::new(&mesh);
    join_all(users.map(|user| put.get(user).into_future())).await;
    assert_eq!(probe.sent()[5].users, ["bob", "bob", "carl", "bob"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_read_after_a_write_is_sent_after_it() {
    // By construction: a call joins a batch only before it is sent. Whatever is on its way or gathers when a write is
    // acknowledged, a read that is made then is in a call that starts later, whoever else is in it.
    let mut rng = random("what_is_read_after_a_write_is_sent_after_it");
    let (probe, n) = (Probe::new(|sent| (ms(1 + sent.users.len() as u64 % 7), None)), 500);
    let mesh = probe.mesh();
    let (get, put) = (Arc::new(Client::<Get>::new(&mesh)), Arc::new(Client::<Put>::new(&mesh)));
    let callers = (0..n).map(|number| {
        let (get, put, probe) = (Arc::clone(&get), Arc::clone(&put), Arc::clone(&probe));
        let start = rng.random_range(0..30);
        let fresh = rng.random_bool(0.5).then_some(Fresh::Authoritative);
        tokio::spawn(async move {
            sleep(ms(start)).await;
            let written = put.get(id(number % 50)).await.expect("it is written");
            let acknowledged = probe.count() as u64;
            let fresh = fresh.unwrap_or_else(|| {
                Fresh::AtLeast(written.token.unwrap_or_else(|| {
                    // A batch over several users has no token to give.
                    Token::new("bj-1".parse().expect("a cell"), 0, acknowledged)
                }))
            });
            let read = get.get(id(number % 50)).fresh(fresh.clone()).await.expect("it is read");
            // A token that another caller got too may be shown by a call that he made.
            let same = matches!(fresh, Fresh::AtLeast(_)) && matches!(read.source, Source::Coalesced { .. });
            assert!(read.value.seen >= acknowledged || same, "{} < {acknowledged}: {read:?}", read.value.seen);
        })
    });
    for caller in join_all(callers.collect::<Vec<_>>()).await {
        caller.expect("no panic");
    }
    println!("figure: reads_after_writes N={n} rpcs={}", probe.count());
}

#[tokio::test(start_paused = true)]
async fn a_batch_ends_with_the_first_of_its_deadlines_and_the_hurried_go_by_themselves() {
    let probe = Probe::slow(ms(10));
    let get = Client::<Get>::new(&probe.mesh());
    let first = get.get("first").deadline(ms(1500)).into_future();
    let patient = [1500, 1200, 1900].map(|time| get.get(id(time)).deadline(ms(time as u64)).into_future());
    let hurried = [40, 50].map(|time| get.get(id(time)).deadline(ms(time as u64)).into_future());
    let calls = [first].into_iter().chain(patient).chain(hurried);
    join_all(calls).await.into_iter().for_each(|answer| drop(answer.expect("it is answered")));
    let sent = probe.sent();
    let batch = sent.iter().find(|sent| sent.users.len() == 3).expect("the patient travel together");
    assert!(batch.time() <= ms(1200) && batch.time() >= ms(1195), "{:?}", batch.time());
    assert!(sent.iter().any(|sent| sent.users == [id(40)] && sent.time() == ms(40)), "it finds nothing of its like");
    assert_eq!(sent.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn an_item_with_time_left_goes_again_when_its_batch_was_late() {
    let probe = Probe::new(|sent| (if sent.is_batch() { ms(5000) } else { ms(10) }, None));
    let get = Client::<Get>::new(&probe.mesh());
    let _first = start(get.get("first").deadline(ms(1500)));
    let short = get.get("short").deadline(ms(1100)).into_future();
    let long = get.get("long").deadline(ms(2000)).into_future();
    let (short, long) = tokio::join!(short, long);
    assert_eq!(short.expect_err("its time is over").code(), Code::DeadlineExceeded);
    assert_eq!(long.expect("asked again").value.user_id, "long");
    assert_eq!(get.slot.0.counts.stats("").retried, 1);
}

#[tokio::test(start_paused = true)]
async fn who_has_gone_before_it_is_sent_is_not_sent() {
    let probe = Probe::slow(ms(10));
    let slow = Settings { batch_wait: ms(1000), ..Settings::default() };
    let get = Client::<Get>::new(&probe.mesh_with(slow));
    let first = start(get.get("first"));
    let mut gone: Vec<_> = (0..3).map(|number| start(get.get(id(number)))).collect();
    let stays = start(get.get("stays"));
    let also = start(get.get("also"));
    // The one who opened the batch, and another.
    drop(gone.remove(0));
    drop(gone.remove(0));
    let (first, stays, also, last) = tokio::join!(first, stays, also, gone.remove(0));
    assert!(first.is_ok() && stays.is_ok() && also.is_ok() && last.is_ok());
    assert_eq!(probe.sent()[1].users, ["u2", "stays", "also"]);
}

#[tokio::test(start_paused = true)]
async fn when_all_have_gone_nothing_is_sent_or_it_is_cancelled() {
    let probe = Probe::slow(ms(10));
    let get = Client::<Get>::new(&probe.mesh());
    let first = start(get.get("first"));
    let gathering: Vec<_> = (0..3).map(|number| start(get.get(id(number)))).collect();
    drop(gathering);
    first.await.expect("it is answered");
    sleep(ms(5)).await;
    assert_eq!(probe.count(), 1, "not sent");

    let first = start(get.get("first"));
    let mut sent: Vec<_> = (0..3).map(|number| start(get.get(id(number)))).collect();
    advance(ms(2)).await;
    assert!(sent.iter_mut().all(|call| call.now_or_never().is_none()));
    tokio::task::yield_now().await;
    assert_eq!((probe.count(), probe.flying()), (3, 2));
    drop(sent);
    assert!(probe.sent()[2].cancelled);
    first.await.expect("it is answered");
    // The lane is in order again.
    answered(all(&get, 5).await);
    assert_eq!(probe.flying(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_one_who_sends_may_go_and_the_others_get_theirs() {
    let probe = Probe::slow(ms(10));
    let get = Client::<Get>::new(&probe.mesh());
    let first = start(get.get("first"));
    let mut opener = start(get.get("opener"));
    let others: Vec<_> = (0..3).map(|number| start(get.get(id(number)))).collect();
    advance(ms(2)).await;
    assert!((&mut opener).now_or_never().is_none(), "he sends it");
    assert_eq!(probe.count(), 2);
    drop(opener);
    answered(join_all(others).await);
    assert!(first.await.is_ok());
    assert_eq!(probe.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_first_call_that_is_given_up_lets_the_others_go() {
    let probe = Probe::slow(ms(10));
    let slow = Settings { batch_wait: ms(1000), ..Settings::default() };
    let get = Client::<Get>::new(&probe.mesh_with(slow));
    let first = start(get.get("first"));
    let others: Vec<_> = (0..3).map(|number| start(get.get(id(number)))).collect();
    drop(first);
    let began = Clock::now();
    answered(join_all(others).await);
    assert_eq!(began.elapsed(), ms(10));
}

#[tokio::test(start_paused = true)]
async fn a_token_is_given_only_where_it_is_the_callers_users() {
    let probe = Probe::slow(ms(5));
    let get = Client::<Get>::new(&probe.mesh());
    let answers = join_all((0..4).map(|number| get.get(id(number)).into_future())).await;
    let tokens = answers.into_iter().map(|answer| answer.expect("ok").token.is_some()).collect::<Vec<_>>();
    assert_eq!(tokens, [true, false, false, false]);
}

#[tokio::test(start_paused = true)]
async fn lanes_are_bounded_and_swept() {
    let probe = Probe::slow(ms(5));
    let get = Client::<Get>::new(&probe.mesh());
    let masked = |number: usize| GetUser { user_id: id(number), mask: format!("m{number}") };
    for number in 0..2000 {
        let _call = start(get.call(masked(number)));
    }
    let calls = (0..2000).map(|number| get.call(masked(number)).into_future());
    answered(join_all(calls).await);
    fn lanes<M: Method>(lanes: &Lanes<M>) -> usize {
        lanes.len()
    }
    assert!(lanes(&get.slot.0.lanes) <= 64);
}
