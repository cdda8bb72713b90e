use crate::{
    Code, Error, Reply, Source,
    probe::{Client, Look, Probe, Put, User, ms},
};
use futures_util::FutureExt as _;
use std::sync::Arc;
use tokio::time::{Instant, sleep};

/// `slow…` takes 60 ms, `down…` fails after 5 ms, all others take 10 ms.
fn mesh() -> (Arc<Probe>, Client<Look>, Client<Put>) {
    let probe = Probe::new(|sent| match &*sent.users[0] {
        user if user.starts_with("slow") => (ms(60), None),
        user if user.contains("down") => {
            let cell = Some("sh-1".parse().expect("a cell"));
            (ms(5), Some(Err(Error::new(Code::Unavailable, "no connection").at_cell(cell))))
        }
        _ => (ms(10), None),
    });
    let mesh = probe.mesh();
    let (look, put) = (Client::new(&mesh), Client::new(&mesh));
    (probe, look, put)
}

fn nobody() -> User {
    User { user_id: "nobody".into(), seen: 0 }
}

#[tokio::test(start_paused = true)]
async fn parts_run_at_once_and_are_given_by_name() {
    let (probe, look, put) = mesh();
    let began = Instant::now();
    let page = fanout!(
        deadline = ms(80);
        core: user = look.get("ann"), cart = put.get("bob").principal("ann");
        optional: recs = look.get("carl") => nobody(), ads = look.get("dora") => nobody()
    )
    .await
    .expect("all answer");
    assert_eq!(began.elapsed(), ms(10));
    let names = [&page.user, &page.cart, &page.recs, &page.ads].map(|user| &*user.user_id);
    assert_eq!(names, ["ann", "bob", "carl", "dora"]);
    assert!(page.degraded.is_empty());
    assert!(probe.sent().iter().all(|sent| sent.time() == ms(80)), "one deadline for all");
}

#[tokio::test(start_paused = true)]
async fn optional_parts_that_fail_or_are_late_are_named_and_have_their_defaults() {
    let (probe, look, _) = mesh();
    let began = Instant::now();
    let page = fanout! {
        deadline = ms(30);
        core: user = look.get("ann");
        optional:
            recs = look.get("down") => nobody(),
            ads = look.get("slow") => User { user_id: "an ad".into(), seen: 1 },
            news = look.get("carl") => nobody(),
    }
    .await
    .expect("the core answers");
    assert_eq!(began.elapsed(), ms(30), "not later than the deadline");
    let names = [&page.user, &page.recs, &page.ads, &page.news].map(|user| &*user.user_id);
    assert_eq!(names, ["ann", "nobody", "an ad", "carl"]);
    let degraded = page.degraded.iter().map(|part| (part.part, part.error.code())).collect::<Vec<_>>();
    assert_eq!(degraded, [("recs", Code::Unavailable), ("ads", Code::DeadlineExceeded)]);
    assert_eq!(page.degraded[0].error.cell().map(|cell| cell.as_str()), Some("sh-1"));
    assert_eq!(probe.flying(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_core_error_names_part_and_cell_and_cancels_the_rest() {
    let (probe, look, _) = mesh();
    let began = Instant::now();
    let error = fanout!(
        deadline = ms(80);
        core: user = look.get("slow"), cart = look.get("down");
        optional: recs = look.get("slow too") => nobody()
    )
    .await
    .map(|page| page.user)
    .expect_err("the cart is down");
    assert_eq!(began.elapsed(), ms(5));
    assert_eq!((error.code(), error.cell().map(|cell| cell.as_str())), (Code::Unavailable, Some("sh-1")));
    let text = error.to_string();
    assert!(text.contains("part \"cart\"") && text.contains("sh-1") && text.contains("test.Users/Look"), "{text}");
    assert_eq!((probe.flying(), probe.sent().iter().filter(|sent| sent.cancelled).count()), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn a_core_part_that_is_late_fails_the_whole() {
    let (_, look, _) = mesh();
    let late = async {
        sleep(ms(1000)).await;
        look.get("ann").await
    };
    let error = fanout!(deadline = ms(20); core: user = look.get("ann"), page = late).await;
    let error = error.map(|page| page.user).expect_err("the page is late");
    assert_eq!(error.code(), Code::DeadlineExceeded);
    assert!(error.message().contains("part \"page\""), "{error}");
}

#[tokio::test(start_paused = true)]
async fn parts_may_be_made_of_several_calls_and_all_end_with_it() {
    let (probe, look, _) = mesh();
    let chain = async {
        let first = look.get("ann").await?;
        look.get(format!("friend of {}", first.value.user_id)).await
    };
    let own = async { Ok(Reply::new(7, Source::Remembered { cell: None }, None)) };
    let page = fanout!(deadline = ms(50); core: friend = chain, number = own).await.expect("all answer");
    assert_eq!((&*page.friend.user_id, page.number), ("friend of ann", 7));
    assert_eq!(probe.sent().iter().map(|sent| sent.time()).collect::<Vec<_>>(), [ms(50), ms(40)]);
    assert!(page.degraded.is_empty());
}

#[tokio::test(start_paused = true)]
async fn lists_may_be_empty_and_without_a_deadline_each_part_has_its_own() {
    let (probe, look, _) = mesh();
    let page = fanout!(core: user = look.get("ann").deadline(ms(70))).await.expect("it answers");
    assert_eq!((&*page.user.user_id, page.degraded.len()), ("ann", 0));
    let page = fanout!(core:; optional: recs = look.get("down") => nobody()).await.expect("nothing is core");
    assert_eq!((&*page.recs.user_id, page.degraded.len()), ("nobody", 1));
    assert_eq!(probe.sent().iter().map(|sent| sent.time()).collect::<Vec<_>>(), [ms(70), ms(5000)]);
}

#[tokio::test(start_paused = true)]
async fn dropping_it_cancels_all_and_fan_outs_nest() {
    let (probe, look, put) = mesh();
    let inner = async {
        let page = fanout!(deadline = ms(500); core: a = look.get("slow a"), b = put.get("slow b")).await?;
        Ok(Reply::new(page.a, Source::Remembered { cell: None }, None))
    };
    let mut outer = Box::pin(fanout!(deadline = ms(90); core: inner = inner, user = look.get("slow")));
    assert!((&mut outer).now_or_never().is_none());
    assert_eq!(probe.flying(), 3);
    assert!(probe.sent().iter().all(|sent| sent.time() == ms(90)), "the shorter deadline counts");
    drop(outer);
    assert_eq!(probe.flying(), 0);
}

#[test]
fn its_future_may_be_spawned() {
    fn spawned<T: Send + 'static>(_: T) {}
    let (_, look, _) = mesh();
    spawned(async move {
        let page =
            fanout!(deadline = ms(1); core: user = look.get("ann"); optional: b = look.get("b") => nobody()).await;
        page.map(|page| (page.user, page.b, page.degraded.len()))
    });
}
