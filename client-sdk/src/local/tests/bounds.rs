use super::{names::*, world::*};
use crate::{Code, Error, FeedStats, Fresh, LocalSettings, LocalState};
use tokio::time::sleep;

/// Bytes of a snapshot that holds one name of three letters.
const ONE: usize = 131;

fn world(settings: LocalSettings) -> World {
    World::new(settings, |logics| logics.register(FollowCheck::default()).unwrap())
}

fn feed(world: &World) -> FeedStats {
    world.mesh.local_stats().feeds.remove(0)
}

fn here(world: &World, user: &str) -> Option<bool> {
    world.here::<IsFollowing>(user, "bob", Fresh::Any).map(|here| here.yes)
}

/// Asks about a user, whose stream is opened then and sends these names.
async fn follow(world: &mut World, user: &str, names: &[&str]) -> Sender {
    assert_eq!(here(world, user), None);
    let opened = world.opened().await;
    assert_eq!(opened.request.user, user);
    let stream = opened.accept("bj-1");
    stream.send(&snapshot(0, at(0, 1), names));
    settle().await;
    stream
}

#[tokio::test(start_paused = true)]
async fn users_that_nobody_asks_about_are_closed() {
    let mut world = world(settings());
    let (ann, eve) = (follow(&mut world, "ann", &["bob"]).await, follow(&mut world, "eve", &["bob"]).await);
    assert_eq!((feed(&world).snapshots, feed(&world).bytes), (2, 2 * ONE));
    for second in 0..400 {
        sleep(ms(1000)).await;
        for stream in [&ann, &eve] {
            stream.send(&heartbeat(second * 1000, at(0, 1)));
        }
        settle().await;
        assert_eq!(here(&world, "eve"), Some(true));
    }
    assert!(ann.is_gone() && !eve.is_gone());
    let feed = feed(&world);
    assert_eq!((feed.snapshots, feed.bytes, feed.closed_idle, feed.streams_failed), (1, ONE, 1, 0));
    // At the next call about her she is followed again.
    follow(&mut world, "ann", &[]).await;
    assert_eq!(here(&world, "ann"), Some(false));
}

#[tokio::test(start_paused = true)]
async fn a_full_house_lets_in_whom_others_make_room_for() {
    let mut world = world(LocalSettings { max_users: 3, ..settings() });
    let streams = [
        follow(&mut world, "u0", &["bob"]).await,
        follow(&mut world, "u1", &["bob"]).await,
        follow(&mut world, "u2", &["bob"]).await,
    ];
    // All are in use: the fourth goes remote.
    assert_eq!(here(&world, "u3"), None);
    assert!(world.opens_nothing(ms(200)).await);
    assert_eq!((feed(&world).refused, feed(&world).snapshots), (1, 3));
    for second in 0..15 {
        sleep(ms(1000)).await;
        streams.iter().for_each(|stream| stream.send(&heartbeat(second * 1000, at(0, 1))));
        settle().await;
        assert!(here(&world, "u0").is_some() && here(&world, "u2").is_some());
    }
    // Nobody asked about u1 for a lease's time.
    follow(&mut world, "u3", &["bob"]).await;
    assert!(streams[1].is_gone() && !streams[0].is_gone() && !streams[2].is_gone());
    assert_eq!((feed(&world).evicted, feed(&world).snapshots, feed(&world).bytes), (1, 3, 3 * ONE));
}

#[tokio::test(start_paused = true)]
async fn snapshots_never_take_more_than_they_may() {
    let max = 10 * ONE;
    let mut world = world(LocalSettings { max_users_bytes: max, ..settings() });
    let mut streams = Vec::new();
    for user in 0..9 {
        streams.push(follow(&mut world, &format!("u{user}"), &["bob"]).await);
        sleep(ms(1000)).await;
    }
    assert_eq!(feed(&world).bytes, 9 * ONE);
    assert_eq!(here(&world, "u9"), None, "the rest is for those who are there");
    assert_eq!(feed(&world).refused, 1);
    // They grow: the least recently used go out.
    for (at_second, stream) in streams.iter().enumerate().skip(4) {
        stream.send(&change(10_000, at(0, 2), &["eve", "joe"], &[]));
        settle().await;
        assert!(feed(&world).bytes <= max, "after {at_second}");
    }
    assert!(streams[0].is_gone() && streams[1].is_gone() && !streams[8].is_gone());
    assert!(feed(&world).evicted >= 4);
    // One who is larger than all may be throws out nobody for long: he is not kept.
    let names: Vec<_> = (0..40).map(|number| format!("n{number}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    streams[8].send(&change(10_000, at(0, 3), &names, &[]));
    settle().await;
    assert!(feed(&world).bytes <= max);
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_is_too_large_is_not_taken_and_not_asked_for_again_soon() {
    let mut world = world(LocalSettings { max_snapshot_bytes: 500, ..settings() });
    let names: Vec<_> = (0..40).map(|number| format!("n{number}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    // In memory, and on the way there.
    let ann = follow(&mut world, "ann", &names).await;
    assert!(ann.is_gone());
    assert_eq!(here(&world, "eve"), None);
    let eve = world.opened().await.accept("bj-1");
    for piece in 0..4 {
        eve.send(&SubscribeResponse {
            snapshot_start: piece == 0,
            snapshot_end: false,
            ..snapshot(0, at(0, 1), &names)
        });
    }
    settle().await;
    assert!(eve.is_gone());
    assert_eq!((here(&world, "ann"), here(&world, "eve"), feed(&world).bytes), (None, None, 0));
    assert!(world.opens_nothing(ms(25_000)).await);
}

#[tokio::test(start_paused = true)]
async fn streams_are_opened_a_few_at_a_time() {
    let mut world = world(LocalSettings { max_opening: 2, ..settings() });
    for user in ["u0", "u1", "u2", "u3"] {
        assert_eq!(here(&world, user), None);
    }
    let (first, second) = (world.opened().await, world.opened().await);
    assert!(world.opens_nothing(ms(1000)).await);
    let first = first.accept("bj-1");
    assert!(world.opens_nothing(ms(100)).await, "open, but without data");
    first.send(&snapshot(0, at(0, 1), &[]));
    let third = world.opened().await;
    second.refuse(Error::new(Code::Unavailable, "no"));
    let _fourth = world.opened().await;
    drop(third);
}

#[tokio::test(start_paused = true)]
async fn a_cell_that_hangs_keeps_no_stream_of_another_waiting() {
    let mut world = world(LocalSettings { max_opening: 2, ..settings() });
    for user in ["far0", "far1", "far2"] {
        assert_eq!(here(&world, user), None);
    }
    let _hang = (world.opened().await, world.opened().await);
    assert!(world.opens_nothing(ms(100)).await);
    follow(&mut world, "near", &["bob"]).await;
    assert_eq!(here(&world, "near"), Some(true));
}

#[tokio::test(start_paused = true)]
async fn a_feed_whose_code_panics_switches_its_logics_off_and_is_followed_again_when_they_are_on() {
    let mut world = world(settings());
    let (ann, eve) = (follow(&mut world, "ann", &["bob"]).await, follow(&mut world, "eve", &["bob"]).await);
    ann.send(&change(10, at(0, 2), &[PANIC], &[]));
    settle().await;
    assert!(ann.is_gone() && !eve.is_gone());
    let state = |world: &World| world.mesh.local_stats().logics[0].state;
    assert_eq!((state(&world), feed(&world).panics, feed(&world).bytes), (LocalState::SwitchedOff, 1, ONE));
    assert_eq!((here(&world, "ann"), here(&world, "eve")), (None, None));
    let old = world.stale::<IsFollowing>("ann", "bob", Fresh::StaleIfError(ms(1_000_000)));
    assert_eq!(old, None, "nor is it stale for ever");
    assert!(world.mesh.enable_local_logic("follow"));
    let again = loop {
        // Eve's stream, which falls silent meanwhile, is opened anew, too.
        let opened = world.opened().await;
        if opened.request.user == "ann" {
            break opened;
        }
    };
    assert_eq!(again.from(), None, "from the beginning");
    again.accept("bj-1").send(&snapshot(0, at(0, 3), &["joe"]));
    settle().await;
    assert_eq!(here(&world, "ann"), Some(false));
}

#[tokio::test(start_paused = true)]
async fn pauses_between_attempts_grow_and_end_with_success() {
    let mut world = world(settings());
    assert_eq!(here(&world, "ann"), None);
    let mut last = world.opened().await;
    let mut gaps = Vec::new();
    for _ in 0..12 {
        let at = last.at;
        last.refuse(Error::new(Code::Unavailable, "down"));
        last = world.opened().await;
        gaps.push(last.at - at);
    }
    assert!(gaps[0] <= ms(60) && gaps[11] >= ms(2400) && gaps[11] <= ms(5100), "{gaps:?}");
    let stream = last.accept("bj-1");
    stream.send(&snapshot(0, at(0, 1), &["bob"]));
    sleep(ms(2000)).await;
    drop(stream);
    let cut = tokio::time::Instant::now();
    assert!(world.opened().await.at - cut <= ms(60));
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_opened_anew_before_clocks_drift_apart() {
    let mut world = world(LocalSettings { longest_stream: ms(60_000), ..settings() });
    let stream = follow(&mut world, "ann", &["bob"]).await;
    let begun = tokio::time::Instant::now();
    let again = loop {
        stream.send(&heartbeat(u64::try_from(begun.elapsed().as_millis()).unwrap(), at(0, 1)));
        assert_eq!(here(&world, "ann"), Some(true));
        if let Ok(opened) = tokio::time::timeout(ms(1000), world.opened()).await {
            break opened;
        }
    };
    assert!(begun.elapsed() > ms(53_000) && begun.elapsed() <= ms(60_000));
    assert_eq!(again.from(), Some(at(0, 1)));
    assert_eq!((feed(&world).streams_opened, feed(&world).streams_failed), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_mesh_that_is_gone_follows_nothing() {
    let mut world = world(settings());
    let stream = follow(&mut world, "ann", &["bob"]).await;
    drop(world);
    settle().await;
    assert!(stream.is_gone());
}
