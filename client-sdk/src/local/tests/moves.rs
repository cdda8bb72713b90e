use super::{names::*, world::*};
use crate::{Code, Error, Fresh};
use tokio::time::sleep;

fn moved() -> Error {
    Error::new(Code::Unavailable, "the user moved").with_reason("cellmesh", "MOVED", Vec::new())
}

fn answer(world: &World, target: &str) -> Option<bool> {
    world.here::<IsFollowing>("ann", target, Fresh::Any).map(|here| here.yes)
}

/// A client whose user "ann" follows "bob" in bj-1, at user_epoch 1.
async fn at_home_in_bj() -> (World, Sender) {
    let mut world = World::new(settings(), |logics| logics.register(FollowCheck::default()).unwrap());
    assert_eq!(answer(&world, "bob"), None);
    let stream = world.opened().await.accept("bj-1");
    stream.send(&snapshot(0, at(1, 7), &["bob"]));
    settle().await;
    assert_eq!(answer(&world, "bob"), Some(true));
    (world, stream)
}

#[tokio::test(start_paused = true)]
async fn a_user_who_moves_is_followed_to_his_new_home() {
    let (mut world, stream) = at_home_in_bj().await;
    sleep(ms(1000)).await;
    stream.end(moved());
    let opened = world.opened().await;
    assert_eq!(opened.from(), None, "the new home tells everything");
    assert!(opened.at.elapsed() < ms(100), "soon");
    // Within the lease what the former home said holds: nothing is written elsewhere that it does not know of... until
    // the new home answers.
    assert_eq!(answer(&world, "bob"), Some(true));
    let stream = opened.accept("sh-1");
    stream.send(&snapshot(0, at(2, 8), &["eve"]));
    settle().await;
    assert_eq!((answer(&world, "bob"), answer(&world, "eve")), (Some(false), Some(true)));
    for (token, shown) in [("sh-1;2;8", true), ("bj-1;1;99", true), ("sh-1;2;9", false)] {
        let here = world.here::<IsFollowing>("ann", "eve", Fresh::AtLeast(token.parse().unwrap()));
        assert_eq!(here.is_some(), shown, "{token}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_epoch_in_the_same_stream_needs_a_snapshot() {
    // An aborted move uses up an epoch: the home stays, and tells all anew.
    let (mut world, stream) = at_home_in_bj().await;
    stream.send(&snapshot(10, at(2, 7), &["bob", "cat"]));
    settle().await;
    assert_eq!(answer(&world, "cat"), Some(true));
    // A change of a third epoch without a snapshot is not applied; everything is asked for.
    stream.send(&change(20, at(3, 8), &["eve"], &[]));
    let opened = world.opened().await;
    assert_eq!((opened.from(), answer(&world, "eve")), (None, Some(false)));
    opened.accept("bj-1").send(&snapshot(0, at(3, 8), &["eve"]));
    settle().await;
    assert_eq!((answer(&world, "eve"), answer(&world, "cat")), (Some(true), Some(false)));
}

#[tokio::test(start_paused = true)]
async fn nothing_of_an_older_epoch_is_applied_over_a_newer_one() {
    let (mut world, stream) = at_home_in_bj().await;
    stream.send(&snapshot(10, at(2, 8), &["eve"]));
    settle().await;
    for late in [
        change(20, at(1, 9), &["bob"], &[]),
        snapshot(20, at(1, 99), &["bob"]),
        heartbeat(20, at(1, 99)),
        snapshot(20, at(2, 7), &["bob"]),
    ] {
        stream.send(&late);
        settle().await;
        assert_eq!((answer(&world, "bob"), answer(&world, "eve")), (Some(false), Some(true)), "{late:?}");
    }
    // The stream was given up at the first of them; the next one comes from the stale home again, and again.
    assert!(stream.is_gone());
    for _ in 0..3 {
        let opened = world.opened().await;
        assert_eq!(opened.from(), Some(at(2, 8)));
        let stream = opened.accept("bj-1");
        stream.send(&snapshot(0, at(1, 99), &["bob"]));
        stream.send(&heartbeat(1, at(1, 99)));
        settle().await;
        assert!(stream.is_gone());
        assert_eq!((answer(&world, "bob"), answer(&world, "eve")), (Some(false), Some(true)));
    }
}

#[tokio::test(start_paused = true)]
async fn data_that_may_lack_something_is_not_used_and_fetched_anew() {
    let (mut world, stream) = at_home_in_bj().await;
    stream.send(&change(10, at(1, 9), &["eve"], &[]));
    settle().await;
    assert_eq!(answer(&world, "eve"), Some(true));
    stream.send(&change(10, at(1, 8), &[], &["bob"]));
    settle().await;
    assert_eq!(answer(&world, "bob"), None);
    let opened = world.opened().await;
    assert_eq!(opened.from(), None);
    // Not even now anything below what was known is applied.
    opened.accept("bj-1").send(&snapshot(0, at(1, 8), &[]));
    let opened = world.opened().await;
    assert_eq!(answer(&world, "bob"), None);
    opened.accept("bj-1").send(&snapshot(0, at(1, 9), &["eve"]));
    settle().await;
    assert_eq!((answer(&world, "bob"), answer(&world, "eve")), (Some(false), Some(true)));
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_not_understood_is_no_guess() {
    let (mut world, stream) = at_home_in_bj().await;
    stream.send(&change(10, at(1, 8), &[""], &[]));
    settle().await;
    assert!(stream.is_gone());
    assert_eq!(answer(&world, "bob"), Some(true), "what was said before holds for its lease");
    assert!(world.opens_nothing(ms(25_000)).await, "asking again soon would be in vain");
    assert_eq!(answer(&world, "bob"), None);
    assert_eq!(world.opened().await.from(), Some(at(1, 7)));
}
