use super::{names::*, world::*};
use crate::{Code, Error, Fresh, Source};
use std::time::Duration;
use tokio::time::{advance, sleep};

const LEASE: Duration = ms(10_000);

/// A client whose user "ann" follows "bob", confirmed as of when the stream was asked for.
async fn following() -> (World, Sender) {
    let mut world = World::new(settings(), |logics| logics.register(FollowCheck::default()).unwrap());
    assert_eq!(world.here::<IsFollowing>("ann", "bob", Fresh::Any), None);
    let opened = world.opened().await;
    assert_eq!((opened.path, opened.request.user.as_str(), opened.from()), ("/t.T/WatchFollows", "ann", None));
    assert_eq!(opened.key.as_ref().map(ToString::to_string).as_deref(), Some("ann"));
    let stream = opened.accept("bj-1");
    stream.send(&snapshot(0, at(0, 7), &["bob"]));
    settle().await;
    (world, stream)
}

#[tokio::test(start_paused = true)]
async fn the_first_call_goes_remote_and_the_next_are_answered_here() {
    let answers = |_: &crate::wire::WireCall| Ok((AskResponse { yes: true }, None));
    let logics = |logics: &mut crate::local::Logics| logics.register(FollowCheck::default()).unwrap();
    let mut world = World::answering(settings(), logics, ms(10), Box::new(answers));
    let first = world.ask::<IsFollowing>("ann", "bob", Fresh::Any).await.unwrap();
    assert!(matches!(first.source, Source::Remote { .. }));
    let stream = world.opened().await.accept("bj-1");
    stream.send(&snapshot(0, at(0, 7), &["bob"]));
    settle().await;
    for (target, yes) in [("bob", true), ("eve", false)] {
        let reply = world.ask::<IsFollowing>("ann", target, Fresh::Any).await.unwrap();
        assert!(matches!(reply.source, Source::Local { logic: "follow", stale: false, .. }), "{reply:?}");
        assert_eq!(reply.value.yes, yes);
    }
    assert_eq!(world.asked(), 1);
    let unsure = world.ask::<IsFollowing>("ann", "somebody strange", Fresh::Any).await.unwrap();
    assert!(matches!(unsure.source, Source::Remote { .. }));
    let stats = world.mesh.local_stats();
    let (logic, feed) = (&stats.logics[0], &stats.feeds[0]);
    assert_eq!((logic.answers, logic.missing, logic.unsure, logic.late), (2, 1, 1, 0));
    assert!(logic.first_answer.is_some() && feed.first_data.is_some());
    assert_eq!((feed.snapshots, feed.bytes, feed.streams_opened), (1, 131, 1));
}

#[tokio::test(start_paused = true)]
async fn data_is_as_old_as_what_its_sender_said() {
    let (world, stream) = following().await;
    sleep(ms(4000)).await;
    // Two seconds on the way: the sender wrote it at 2.5 s of the stream, at the latest.
    stream.send(&heartbeat(2500, at(0, 7)));
    settle().await;
    assert_eq!(world.here::<IsFollowing>("ann", "bob", Fresh::Any).unwrap().age, ms(1500));
    // The same once more, and one that is older: nothing is renewed.
    sleep(ms(1000)).await;
    stream.send(&heartbeat(2500, at(0, 7)));
    stream.send(&heartbeat(1000, at(0, 7)));
    settle().await;
    assert_eq!(world.here::<IsFollowing>("ann", "bob", Fresh::Any).unwrap().age, ms(2500));
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_stood_still_makes_nothing_fresh() {
    let (world, stream) = following().await;
    // The sender has counted 60 s, we 1 s: our machine slept. What it sent a second later lies a second in a buffer.
    sleep(ms(1000)).await;
    stream.send(&heartbeat(60_000, at(0, 7)));
    settle().await;
    assert_eq!(world.here::<IsFollowing>("ann", "bob", Fresh::Any).unwrap().age, ms(0));
    sleep(ms(2000)).await;
    stream.send(&heartbeat(61_000, at(0, 7)));
    settle().await;
    assert_eq!(world.here::<IsFollowing>("ann", "bob", Fresh::Any).unwrap().age, ms(1000));
}

#[tokio::test(start_paused = true)]
async fn changes_renew_a_lease_only_if_they_are_complete() {
    let (world, stream) = following().await;
    sleep(ms(5000)).await;
    stream.send(&change(5000, at(0, 8), &["eve"], &["bob"]));
    settle().await;
    let here = |target| world.here::<IsFollowing>("ann", target, Fresh::Any).unwrap();
    assert_eq!((here("eve").yes, here("bob").yes, here("eve").age), (true, false, ms(5000)));
    stream.send(&SubscribeResponse { complete: true, ..change(5000, at(0, 9), &["cat"], &[]) });
    settle().await;
    assert_eq!((here("cat").yes, here("cat").age), (true, ms(0)));
}

#[tokio::test(start_paused = true)]
async fn a_cut_stream_turns_answers_stale_then_remote_and_is_resumed() {
    let (mut world, stream) = following().await;
    sleep(ms(3000)).await;
    stream.send(&heartbeat(3000, at(0, 9)));
    settle().await;
    drop(stream);
    // Nobody takes the streams that are opened from now on.
    let mut resumed = world.opened().await;
    assert_eq!(resumed.from(), Some(at(0, 9)), "resumed from what the heartbeat said");
    let confirmed = resumed.at - ms(0);
    let mut age = ms(0);
    while let Some(here) = world.here::<IsFollowing>("ann", "bob", Fresh::Any) {
        assert!(here.age <= LEASE && here.age >= age && !here.stale, "{here:?}");
        age = here.age;
        advance(ms(100)).await;
    }
    assert!(age > LEASE - ms(200), "answered until the lease was over: {age:?}");
    assert!(confirmed.elapsed() > ms(9000));
    // Past it: asked of the server, which does not answer; then what StaleIfError allows.
    let error = world.ask::<IsFollowing>("ann", "bob", Fresh::Any).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable);
    let stale = world.stale::<IsFollowing>("ann", "bob", Fresh::StaleIfError(ms(60_000))).unwrap();
    assert!(stale.stale && stale.yes && stale.age > LEASE);
    for fresh in [Fresh::Any, Fresh::Authoritative, Fresh::MaxAge(ms(60_000)), Fresh::StaleIfError(ms(10_000))] {
        assert_eq!(world.stale::<IsFollowing>("ann", "bob", fresh), None);
    }
    assert_eq!(world.mesh.local_stats().logics[0].stale, 1);
    // The first attempts were given up by the watchdog; a later one is taken, and goes on with a change.
    while resumed.at.elapsed() > ms(50) {
        resumed = world.opened().await;
    }
    assert_eq!(resumed.from(), Some(at(0, 9)));
    let stream = resumed.accept("bj-1");
    stream.send(&change(0, at(0, 10), &[], &["bob"]));
    stream.send(&heartbeat(1, at(0, 10)));
    settle().await;
    let here = world.here::<IsFollowing>("ann", "bob", Fresh::Any).unwrap();
    assert!(!here.yes && here.age < ms(100), "{here:?}");
}

#[tokio::test(start_paused = true)]
async fn a_silent_stream_is_given_up_after_three_heartbeats() {
    let (mut world, stream) = following().await;
    assert!(world.opens_nothing(ms(8900)).await && !stream.is_gone());
    let again = world.opened().await;
    assert!(stream.is_gone() && again.from() == Some(at(0, 7)));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_always_late_is_given_up() {
    let (mut world, stream) = following().await;
    let mut sent = 0;
    while !stream.is_gone() {
        sleep(ms(1000)).await;
        sent += 1;
        stream.send(&heartbeat(sent * 10, at(0, 7)));
        settle().await;
        let here = world.here::<IsFollowing>("ann", "bob", Fresh::Any);
        assert!(here.is_none_or(|here| here.age <= LEASE));
        assert!(sent < 30);
    }
    assert_eq!(world.opened().await.from(), Some(at(0, 7)));
}

#[tokio::test(start_paused = true)]
async fn each_freshness_is_kept() {
    let (world, stream) = following().await;
    sleep(ms(2000)).await;
    let answered = |fresh| world.here::<IsFollowing>("ann", "bob", fresh).is_some();
    let token = |text: &str| Fresh::AtLeast(text.parse().unwrap());
    assert!(answered(Fresh::Any) && answered(Fresh::StaleIfError(ms(0))));
    assert!(!answered(Fresh::Authoritative));
    assert!(answered(Fresh::MaxAge(ms(2000))) && !answered(Fresh::MaxAge(ms(1999))));
    // Positions are compared within a user, wherever they were given.
    assert!(answered(token("bj-1;0;7")) && answered(token("sh-1;0;3")));
    assert!(!answered(token("bj-1;0;8")) && !answered(token("bj-1;1;0")));
    stream.send(&heartbeat(2000, at(0, 8)));
    settle().await;
    assert!(answered(token("bj-1;0;8")), "a heartbeat tells of writes that changed nothing here");
    sleep(ms(9000)).await;
    assert!(!answered(Fresh::MaxAge(ms(60_000))) || world.here::<IsFollowing>("ann", "bob", Fresh::Any).is_some());
    sleep(ms(2000)).await;
    for fresh in [Fresh::Any, Fresh::MaxAge(ms(60_000)), token("bj-1;0;1"), Fresh::StaleIfError(ms(60_000))] {
        assert!(!answered(fresh));
    }
}

#[tokio::test(start_paused = true)]
async fn calls_that_opt_out_or_bring_metadata_are_not_answered_here() {
    let (world, _stream) = following().await;
    let slot = crate::Slot::<IsFollowing>::of(&world.mesh);
    let call = || crate::Call::new(&world.mesh, &slot, AskRequest { user: "ann".into(), target: "bob".into() });
    assert!(call().await.is_ok());
    let options = crate::CallOptions { no_local: true, ..Default::default() };
    assert!(call().options(options).await.is_err());
    assert!(call().metadata("x-language", "zh").unwrap().await.is_err());
    assert!(call().authoritative().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn global_data_follows_its_stream_from_the_start_and_by_incarnations() {
    let mut world = World::new(settings(), |logics| {
        logics.register(BanCheck).unwrap();
        logics.register(Shown).unwrap();
    });
    // One stream for both logics, opened without a call.
    let opened = world.opened().await;
    assert_eq!((opened.path, opened.from(), opened.key.is_none()), ("/t.T/WatchBanned", None, true));
    let stream = opened.accept("bj-1");
    let banned = |world: &World, name| world.here::<IsBanned>("", name, Fresh::Any).map(|here| here.yes);
    stream.send(&SubscribeResponse { snapshot_end: false, ..snapshot(0, at(4, 1), &["eve"]) });
    settle().await;
    assert_eq!(banned(&world, "eve"), None, "a snapshot is shown when it is whole");
    stream.send(&SubscribeResponse { snapshot_start: false, ..snapshot(5, at(4, 2), &["joe"]) });
    settle().await;
    assert_eq!(
        (banned(&world, "eve"), banned(&world, "joe"), banned(&world, "ann")),
        (Some(true), Some(true), Some(false))
    );
    assert_eq!(world.here::<IsBanned>("", "eve", Fresh::AtLeast("bj-1;0;0".parse().unwrap())), None);
    // Another history without a snapshot is not followed; asked for everything, the server sends one.
    stream.send(&change(6, at(5, 1), &[], &["eve"]));
    let opened = world.opened().await;
    assert_eq!((opened.from(), banned(&world, "eve")), (None, Some(true)));
    let stream = opened.accept("sh-1");
    stream.send(&snapshot(0, at(5, 1), &["joe"]));
    settle().await;
    assert_eq!((banned(&world, "eve"), banned(&world, "joe")), (Some(false), Some(true)));
    // A copy that knows only the former history: what is here stays, and it is asked again later.
    drop(stream);
    world.opened().await.accept("bj-1").send(&snapshot(0, at(4, 99), &["eve"]));
    settle().await;
    let opened = world.opened().await;
    assert_eq!((opened.from(), banned(&world, "eve")), (Some(at(5, 1)), Some(false)));
    opened.refuse(Error::new(Code::Unavailable, "later"));
}

#[tokio::test(start_paused = true)]
async fn an_answer_from_two_feeds_is_as_fresh_as_the_older_one() {
    let mut world = World::new(settings(), |logics| logics.register(Shown).unwrap());
    let banned = world.opened().await.accept("bj-1");
    banned.send(&snapshot(0, at(1, 1), &["eve"]));
    sleep(ms(3000)).await;
    assert_eq!(world.here::<IsShown>("ann", "bob", Fresh::Any), None);
    let follows = world.opened().await.accept("sh-1");
    follows.send(&snapshot(0, at(2, 5), &["bob", "eve"]));
    settle().await;
    let bob = world.here::<IsShown>("ann", "bob", Fresh::Any).unwrap();
    assert_eq!((bob.yes, bob.age), (true, ms(3000)));
    let shows = |token: &str| world.here::<IsShown>("ann", "bob", Fresh::AtLeast(token.parse().unwrap())).is_some();
    assert!(shows("sh-1;2;5") && !shows("sh-1;2;6"));
    assert!(!world.here::<IsShown>("ann", "eve", Fresh::Any).unwrap().yes);
    banned.send(&heartbeat(3000, at(1, 1)));
    sleep(ms(1000)).await;
    assert_eq!(world.here::<IsShown>("ann", "bob", Fresh::Any).unwrap().age, ms(1000));
}
