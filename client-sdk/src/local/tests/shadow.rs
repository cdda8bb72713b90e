use super::{names::*, world::*};
use crate::{Code, Error, Fresh, LocalSettings, LocalState, LogicStats, local::Logics, wire::WireCall};
use mesh_proto::control_v1::LogicRestriction;
use prost::Message;
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};
use tokio::time::{Instant, sleep};

/// The server: whom ann follows, and how often that was written.
#[derive(Default)]
struct Truth {
    follows: BTreeSet<String>,
    position: u64,
}

type Shared = Arc<Mutex<Truth>>;

fn every_answer() -> LocalSettings {
    LocalSettings { shadow_every: 1, ..settings() }
}

/// A mesh whose server answers by the truth.
fn by_truth(truth: &Shared, logic: impl FnOnce(&mut Logics)) -> World {
    let truth = Arc::clone(truth);
    let answer = move |call: &WireCall| {
        assert_eq!(call.fresh, Fresh::Authoritative);
        assert_eq!(call.key.as_ref().map(ToString::to_string).as_deref(), Some("ann"));
        let request = AskRequest::decode(&call.frame[5..]).unwrap();
        Ok((AskResponse { yes: truth.lock().unwrap().follows.contains(&request.target) }, None))
    };
    World::answering(every_answer(), logic, ms(100), Box::new(answer))
}

fn logic(world: &World) -> LogicStats {
    world.mesh.local_stats().logics.remove(0)
}

fn here(world: &World, target: &str) -> Option<bool> {
    world.here::<IsFollowing>("ann", target, Fresh::Any).map(|here| here.yes)
}

/// Opens ann's stream and sends what is true.
async fn follow(world: &mut World, truth: &Shared) -> Sender {
    assert_eq!(here(world, "bob"), None);
    let stream = world.opened().await.accept("bj-1");
    let (names, position) = {
        let truth = truth.lock().unwrap();
        (truth.follows.iter().cloned().collect::<Vec<_>>(), truth.position)
    };
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    stream.send(&snapshot(0, at(0, position), &names));
    settle().await;
    stream
}

#[tokio::test(start_paused = true)]
async fn a_logic_that_is_wrong_is_switched_off_and_on_again_by_hand() {
    let truth = Shared::default();
    let mut world = by_truth(&truth, |logics| logics.register(FollowCheck { wrong: true }).unwrap());
    let stream = follow(&mut world, &truth).await;
    let begun = Instant::now();
    let mut answers = 0;
    while let Some(yes) = here(&world, "bob") {
        assert!(yes, "that is what is wrong");
        answers += 1;
        sleep(ms(1000)).await;
        stream.send(&heartbeat(u64::try_from(begun.elapsed().as_millis()).unwrap(), at(0, 0)));
        settle().await;
        assert!(answers < 30, "{:?}", logic(&world));
    }
    let stats = logic(&world);
    assert_eq!((stats.state, stats.differed), (LocalState::SwitchedOff, 2));
    assert!(stats.compared >= 2 && world.stale::<IsFollowing>("ann", "bob", Fresh::StaleIfError(ms(90_000))).is_none());
    assert!(world.mesh.enable_local_logic("follow") && !world.mesh.enable_local_logic("another"));
    assert_eq!((here(&world, "bob"), logic(&world).state), (Some(true), LocalState::On));
}

#[tokio::test(start_paused = true)]
async fn a_logic_that_answers_what_the_server_refuses_is_wrong() {
    let refuse = |_: &WireCall| Err(Error::new(Code::NotFound, "no such user"));
    let logics = |logics: &mut Logics| logics.register(FollowCheck::default()).unwrap();
    let mut world = World::answering(every_answer(), logics, ms(100), Box::new(refuse));
    let stream = follow(&mut world, &Shared::default()).await;
    for second in 1..20 {
        here(&world, "bob");
        sleep(ms(1000)).await;
        stream.send(&heartbeat(second * 1000, at(0, 0)));
        settle().await;
    }
    assert_eq!(logic(&world).state, LocalState::SwitchedOff);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_settles_nothing() {
    for (code, domain) in [(Code::Unavailable, ""), (Code::DeadlineExceeded, ""), (Code::NotFound, "cellmesh")] {
        let fail = move |_: &WireCall| Err(Error::new(code, "no").with_reason(domain, "NO_HOME", Vec::new()));
        let logics = |logics: &mut Logics| logics.register(FollowCheck::default()).unwrap();
        let mut world = World::answering(every_answer(), logics, ms(100), Box::new(fail));
        let _stream = follow(&mut world, &Shared::default()).await;
        for _ in 0..5 {
            assert!(here(&world, "bob").is_some());
            sleep(ms(500)).await;
        }
        let stats = logic(&world);
        assert_eq!((stats.compared, stats.differed, stats.unsettled, stats.state), (0, 0, 5, LocalState::On));
    }
}

/// The truth changes all the time, before the server is asked, while it answers and after it; the stream tells it late.
#[tokio::test(start_paused = true)]
async fn a_right_logic_stays_on_whatever_changes_meanwhile() {
    let truth = Shared::default();
    let mut world = by_truth(&truth, |logics| logics.register(FollowCheck::default()).unwrap());
    let stream = follow(&mut world, &truth).await;
    let begun = Instant::now();
    let mut compared = 0;
    // Changes every 70 ms; then every 7 s, so that comparisons find quiet moments.
    for (gap, rounds) in [(7u64, 3000u64), (700, 100)] {
        for round in 0..rounds {
            let told = {
                let mut truth = truth.lock().unwrap();
                truth.position += 1;
                let there = !truth.follows.remove("bob");
                if there {
                    truth.follows.insert("bob".to_owned());
                }
                let elapsed = u64::try_from(begun.elapsed().as_millis()).unwrap();
                let names: &[&str] = &["bob"];
                let (added, removed) = if there { (names, &[][..]) } else { (&[][..], names) };
                SubscribeResponse { complete: true, ..change(elapsed, at(0, truth.position), added, removed) }
            };
            for step in 0..10 {
                sleep(ms(gap)).await;
                // Told a while after it was written.
                if step == round % 10 {
                    stream.send(&told);
                    settle().await;
                }
                if step == 9 {
                    let elapsed = u64::try_from(begun.elapsed().as_millis()).unwrap();
                    stream.send(&heartbeat(elapsed, at(0, truth.lock().unwrap().position)));
                    settle().await;
                }
                here(&world, "bob");
            }
        }
        let stats = logic(&world);
        assert_eq!((stats.differed, stats.state), (0, LocalState::On), "{stats:?}");
        assert!(stats.compared > compared);
        compared = stats.compared;
    }
    println!("figure: comparisons under churn N={compared}, unsettled N={}", logic(&world).unsettled);
}

#[tokio::test(start_paused = true)]
async fn comparisons_are_few_at_a_time_and_none_if_not_wanted() {
    let truth = Shared::default();
    let mut world = by_truth(&truth, |logics| logics.register(FollowCheck::default()).unwrap());
    let _stream = follow(&mut world, &truth).await;
    for _ in 0..100 {
        assert_eq!(here(&world, "bob"), Some(false));
    }
    sleep(ms(150)).await;
    assert_eq!((world.asked(), logic(&world).compared), (4, 4));
}

#[tokio::test(start_paused = true)]
async fn a_restricted_logic_asks_the_server_until_it_is_not_restricted_any_more() {
    let mut world = World::new(settings(), |logics| logics.register(FollowCheck::default()).unwrap());
    let _stream = follow(&mut world, &Shared::default()).await;
    assert!(here(&world, "bob").is_some());
    let restrict = |min_minor, disabled| {
        let it = LogicRestriction { name: "follow".to_owned(), min_minor, disabled };
        world.mesh.locals().switches().restrict(&[it]);
    };
    restrict(4, false);
    assert_eq!((here(&world, "bob"), logic(&world).state), (None, LocalState::Restricted));
    restrict(3, false);
    assert!(here(&world, "bob").is_some());
    restrict(0, true);
    assert_eq!(here(&world, "bob"), None);
    assert_eq!(world.stale::<IsFollowing>("ann", "bob", Fresh::StaleIfError(ms(90_000))), None);
    world.mesh.locals().switches().restrict(&[]);
    assert!(here(&world, "bob").is_some());
}
