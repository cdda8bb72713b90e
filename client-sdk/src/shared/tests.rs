use super::*;
use futures_util::{FutureExt as _, future::join_all};
use std::sync::atomic::AtomicUsize;
use tokio::sync::{Notify, oneshot};

fn shared<T: Clone + Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> Shared<T> {
    Shared::new(Box::pin(future))
}

fn join<T>(one: &Shared<T>) -> Shared<T> {
    one.downgrade().upgrade().expect("somebody waits")
}

/// Notes that it was dropped.
struct Gone(Arc<AtomicBool>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn every_waiter_gets_the_output() {
    let (tell, told) = oneshot::channel();
    let first = shared(async move { told.await.expect("it is told") });
    let waiters: Vec<_> = (0..100).map(|_| tokio::spawn(join(&first))).collect();
    tokio::task::yield_now().await;
    tell.send(7).expect("somebody waits");
    assert!(join_all(waiters).await.into_iter().all(|waiter| waiter.expect("no panic") == Some(7)));
    assert_eq!(first.await, Some(7));
}

#[tokio::test]
async fn a_waiter_who_goes_away_harms_no_other() {
    let (tell, told) = oneshot::channel();
    let mut first = shared(async move { told.await.expect("it is told") });
    let second = tokio::spawn(join(&first));
    // The first one drives it, and is gone when it is woken.
    assert!((&mut first).now_or_never().is_none());
    tokio::task::yield_now().await;
    drop(first);
    tell.send(7).expect("somebody waits");
    assert_eq!(second.await.expect("no panic"), Some(7));
}

#[tokio::test]
async fn nobody_left_means_dropped_and_nobody_joins() {
    let gone = Arc::new(AtomicBool::new(false));
    let guard = Gone(Arc::clone(&gone));
    let mut first = shared(async move {
        let _guard = guard;
        // Its waker stands in a place of its own.
        let notify = Notify::new();
        notify.notified().await;
    });
    let mut second = join(&first);
    assert!((&mut first).now_or_never().is_none() && (&mut second).now_or_never().is_none());
    let weak = first.downgrade();
    drop(first);
    assert!(!gone.load(Ordering::SeqCst), "one waits still");
    drop(second);
    assert!(gone.load(Ordering::SeqCst) && weak.upgrade().is_none());
}

#[tokio::test]
async fn what_has_ended_is_not_joined() {
    let mut first = shared(async { 7 });
    let weak = first.downgrade();
    let waits = join(&first);
    assert_eq!((&mut first).await, Some(7));
    assert!(weak.upgrade().is_none());
    assert_eq!(waits.await, Some(7), "who waited has it");
}

#[tokio::test]
async fn a_thousand_waiters_cost_one_poll_for_each_wake() {
    let polls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&polls);
    let mut waits = Box::pin(async {
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
    });
    let first = shared(std::future::poll_fn(move |cx| {
        counted.fetch_add(1, Ordering::SeqCst);
        waits.as_mut().poll(cx)
    }));
    let waiters: Vec<_> = (0..1000).map(|_| tokio::spawn(join(&first))).collect();
    first.await;
    join_all(waiters).await;
    assert_eq!(polls.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn a_panic_ends_it_for_all_and_hits_one() {
    let (tell, told) = oneshot::channel::<()>();
    let first = shared(async move {
        let _ = told.await;
        panic!("a test's panic");
    });
    let waiters: Vec<_> = (0..5).map(|_| tokio::spawn(join(&first))).collect();
    tokio::task::yield_now().await;
    drop(tell);
    let ends = join_all(waiters).await;
    assert_eq!(ends.iter().filter(|end| end.is_err()).count(), 1);
    assert!(ends.into_iter().flatten().all(|end: Option<()>| end.is_none()));
    assert_eq!(first.await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn threads_that_come_and_go_lose_no_wake() {
    for round in 0..200_usize {
        let (tell, told) = oneshot::channel();
        let first = shared(async move {
            tokio::task::yield_now().await;
            let told = told.await.expect("it is told");
            tokio::task::yield_now().await;
            told
        });
        let waiters: Vec<_> = (0..16).map(|_| tokio::spawn(join(&first))).collect();
        let goers: Vec<_> = (0..16).map(|_| tokio::spawn(join(&first))).collect();
        drop(first);
        tokio::spawn(async move { tell.send(round) });
        goers.iter().for_each(tokio::task::JoinHandle::abort);
        for waiter in waiters {
            assert_eq!(waiter.await.expect("no panic"), Some(round));
        }
    }
}
