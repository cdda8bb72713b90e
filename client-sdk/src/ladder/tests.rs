use super::*;
use crate::{
    Fresh, Settings, Source,
    local::Evaluator,
    probe::{Client, Get, GetUser, Look, Probe, Put, User, ms},
    slot::Slot,
    within,
};
use futures_util::FutureExt as _;
use mesh_proto::control_v1;
use std::future::IntoFuture as _;

/// Knows users whose ids begin with `known`; data past its lease is 30 s old.
struct Knows;

impl Evaluator<Get> for Knows {
    fn answer(&self, request: &GetUser, options: &CallOptions) -> Option<Reply<User>> {
        let known = request.user_id.starts_with("known") && !matches!(options.fresh, Fresh::AtLeast(_));
        known.then(|| reply(request, false))
    }

    fn stale(&self, request: &GetUser, options: &CallOptions) -> Option<Reply<User>> {
        let Fresh::StaleIfError(age) = options.fresh else { return None };
        (age >= Duration::from_secs(30)).then(|| reply(request, true))
    }
}

fn reply(request: &GetUser, stale: bool) -> Reply<User> {
    let source = Source::Local { logic: "knows", age: ms(1), stale };
    Reply::new(User { user_id: request.user_id.clone(), seen: 0 }, source, None)
}

fn knowing(probe: &Arc<Probe>) -> Client<Get> {
    let slot = SlotInner::new(Some(Arc::new(Knows) as Arc<dyn Evaluator<Get>>));
    Client { mesh: probe.mesh(), slot: Slot(Arc::new(slot)) }
}

#[tokio::test(start_paused = true)]
async fn what_local_logic_knows_is_answered_at_the_first_poll_and_not_sent() {
    let probe = Probe::slow(ms(1));
    let get = knowing(&probe);
    let known = get.get("known").into_future().now_or_never().expect("at once").expect("it is known");
    assert!(matches!(known.source, Source::Local { stale: false, .. }));
    assert_eq!(probe.count(), 0);
    let unknown = get.get("ann").await.expect("the server knows");
    assert!(matches!(unknown.source, Source::Remote { .. }));
    let stats = get.slot.0.counts.stats("");
    assert_eq!((stats.logical, stats.local, stats.wire), (2, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_call_can_leave_local_logic_out() {
    let probe = Probe::slow(ms(1));
    let get = knowing(&probe);
    get.get("known").authoritative().await.expect("the server knows");
    get.get("known").options(CallOptions { no_local: true, ..CallOptions::default() }).await.expect("the server knows");
    let token = "bj-1;0;1".parse().expect("a token");
    get.get("known").fresh(Fresh::AtLeast(token)).await.expect("the server knows");
    assert_eq!(probe.count(), 3);
}

#[tokio::test(start_paused = true)]
async fn stale_data_answers_only_where_the_mesh_did_not_and_the_caller_takes_it() {
    let age = |seconds| Fresh::StaleIfError(Duration::from_secs(seconds));
    let failing = |code| Probe::new(move |_| (ms(1), Some(Err(Error::new(code, "no")))));
    for (code, fresh, taken) in [
        (Code::Unavailable, age(60), true),
        (Code::DeadlineExceeded, age(60), true),
        (Code::Unavailable, age(5), false),
        (Code::Unavailable, Fresh::Any, false),
        (Code::NotFound, age(60), false),
        (Code::Internal, age(60), false),
    ] {
        let (probe, text) = (failing(code), format!("{code:?} {fresh:?}"));
        let get = knowing(&probe);
        let answer = get.get("ann").fresh(fresh).await;
        assert_eq!(probe.count(), 1, "{text}: the mesh is asked first");
        match answer {
            Ok(reply) => assert!(taken && matches!(reply.source, Source::Local { stale: true, .. }), "{text}"),
            Err(error) => assert!(!taken && error.code() == code, "{text}"),
        }
        let stats = get.slot.0.counts.stats("");
        assert_eq!((stats.failed, stats.stale), (1, u64::from(taken)), "{text}: it counts as failed");
    }
    let probe = failing(Code::Unavailable);
    let options = CallOptions { no_local: true, fresh: age(60), ..CallOptions::default() };
    assert!(knowing(&probe).get("ann").options(options).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn the_shortest_of_all_deadlines_counts() {
    let probe = Probe::slow(ms(0));
    let look = Client::<Look>::new(&probe.mesh());
    let last = || probe.sent().last().expect("it was sent").time();
    look.get("a").await.expect("ok");
    assert_eq!(last(), Duration::from_secs(5), "the mesh's default");
    look.get("b").deadline(ms(80)).await.expect("ok");
    assert_eq!(last(), ms(80));
    look.get("c").deadline(Duration::from_secs(100_000)).await.expect("ok");
    assert_eq!(last(), Duration::from_secs(60), "the mesh's longest");
    within(ms(70), within(Duration::MAX, look.get("d").deadline(ms(80)))).await.expect("ok");
    assert_eq!(last(), ms(70));
    let method = control_v1::MethodRestriction { method: "*".into(), max_deadline_ms: 60, ..Default::default() };
    let restrictions = control_v1::Restrictions { methods: vec![method], ..Default::default() };
    look.mesh.restrict((&restrictions).into());
    look.get("e").await.expect("ok");
    assert_eq!(last(), ms(60));
    let late = Client::<Get>::new(&look.mesh);
    late.get("f").await.expect("ok");
    assert_eq!(last(), ms(60), "of a slot that was made later too");
    let error = within(ms(0), look.get("g")).await.expect_err("no time is left");
    assert_eq!((error.code(), probe.count()), (Code::DeadlineExceeded, 6));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_asks_for_no_retry_says_so_to_the_wire() {
    let probe = Probe::slow(ms(0));
    let put = Client::<Put>::new(&probe.mesh());
    put.get("ann").await.expect("ok");
    put.get("ann").options(CallOptions { no_retry: true, ..CallOptions::default() }).await.expect("ok");
    let method =
        control_v1::MethodRestriction { method: "/test.Users/Put".into(), no_retry: true, ..Default::default() };
    let restrictions = control_v1::Restrictions { methods: vec![method], ..Default::default() };
    put.mesh.restrict((&restrictions).into());
    put.get("ann").await.expect("ok");
    assert_eq!(probe.sent().iter().map(|sent| sent.call.wants.no_retry).collect::<Vec<_>>(), [false, true, true]);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_too_long_and_a_response_that_is_none_are_errors() {
    let probe = Probe::new(|_| (ms(0), Some(Ok(vec![0xff, 0xff]))));
    let look = Client::<Look>::new(&probe.mesh());
    let error = look.get("x".repeat(300)).await.expect_err("too long");
    assert_eq!((error.code(), error.method(), probe.count()), (Code::InvalidArgument, "/test.Users/Look", 0));
    let error = look.get("ann").await.expect_err("no response");
    assert_eq!((error.code(), error.method()), (Code::Internal, "/test.Users/Look"));
}

#[tokio::test(start_paused = true)]
async fn dropping_a_call_cancels_it() {
    let probe = Probe::slow(ms(10));
    let put = Client::<Put>::new(&probe.mesh());
    let mut call = put.get("ann").into_future();
    assert!((&mut call).now_or_never().is_none());
    assert_eq!(probe.flying(), 1);
    drop(call);
    assert_eq!(probe.flying(), 0);
}

#[tokio::test(start_paused = true)]
async fn two_clients_of_a_mesh_share_a_slot_and_two_meshes_do_not() {
    let probe = Probe::slow(ms(1));
    let mesh = probe.mesh_with(Settings::default());
    let (one, two, other) =
        (Client::<Look>::new(&mesh), Client::<Look>::new(&mesh), Client::<Look>::new(&probe.mesh()));
    let (one, two, other) = tokio::join!(one.get("ann"), two.get("ann"), other.get("ann"));
    assert!(one.is_ok() && two.is_ok() && other.is_ok());
    assert_eq!(probe.count(), 2);
}

#[test]
fn a_call_on_its_way_takes_little_room() {
    // Beyond a kilobyte glibc's malloc leaves its fast path.
    let get = Client::<Get>::new(&Probe::slow(ms(1)).mesh());
    let bytes = size_of_val(&*remote(get.get("ann")));
    assert!(bytes < 1000, "{bytes} bytes");
}
