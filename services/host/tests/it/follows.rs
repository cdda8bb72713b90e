//! Whom users follow, and the stream of it.

use crate::cell::{Cell, Setup, assert_mesh, assert_shop, id, info};
use cell_map::{
    UserEpoch, UserKey,
    ownership::{MoveId, UserMove},
};
use rand::{Rng, RngExt as _, SeedableRng as _, rngs::StdRng};
use shop_logic::{FollowChange, Following};
use shop_proto::follow_v1::{
    BatchFollowRequest, BatchIsFollowingRequest, FollowRequest, IsFollowingRequest, ListFollowingRequest,
    UnfollowRequest, WatchFollowingRequest, WatchFollowingResponse,
};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use storage::{Participants, UserData, conformance::steps};
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_types::StatusExt as _;

const SOON: Duration = Duration::from_secs(10);

/// The position in an answer's token.
#[track_caller]
fn position<T>(answer: &Response<T>) -> u64 {
    let token = answer.metadata().get("cellmesh-token").expect("an answer for one user has a token");
    token.to_str().expect("ASCII").parse::<mesh_layers::metadata::Token>().expect("a token").position
}

async fn follow(cell: &Cell, user_id: &str, target: &str) -> (bool, u64) {
    let request = FollowRequest { user_id: user_id.into(), target_id: target.into() };
    let answer = cell.follow().follow(request).await.expect("at home");
    (answer.get_ref().changed, position(&answer))
}

async fn unfollow(cell: &Cell, user_id: &str, target: &str) -> (bool, u64) {
    let request = UnfollowRequest { user_id: user_id.into(), target_id: target.into() };
    let answer = cell.follow().unfollow(request).await.expect("at home");
    (answer.get_ref().changed, position(&answer))
}

async fn is_following(cell: &Cell, user_id: &str, target: &str) -> (bool, u64) {
    let request = IsFollowingRequest { user_id: user_id.into(), target_id: target.into() };
    let answer = cell.follow().is_following(request).await.expect("at home");
    (answer.get_ref().following, position(&answer))
}

/// Whom the server says that a user follows, and where that was so.
async fn truth(cell: &Cell, user_id: &str) -> (BTreeSet<String>, u64) {
    let request = ListFollowingRequest { user_id: user_id.into(), page_size: 1_000, page_token: String::new() };
    let answer = cell.follow().list_following(request).await.expect("at home");
    let position = position(&answer);
    (answer.into_inner().target_ids.into_iter().collect(), position)
}

/// A receiver of the stream who keeps what he was told when it breaks.
#[derive(Default)]
struct Watcher {
    stream: Option<Streaming<WatchFollowingResponse>>,
    following: Following,
    has: (u64, u64),
    elapsed_ms: u64,
    snapshots: u32,
}

impl Watcher {
    async fn open(&mut self, cell: &Cell, user_id: &str) -> Result<(), Status> {
        let (user_epoch, position) = self.has;
        let request = WatchFollowingRequest { user_id: user_id.into(), user_epoch, position };
        // No deadline of the caller's: the policy's is what holds.
        self.stream = Some(cell.follow().watch_following(Request::new(request)).await?.into_inner());
        self.elapsed_ms = 0;
        Ok(())
    }

    /// Takes one message.
    async fn take(&mut self) -> Result<(), Status> {
        let stream = self.stream.as_mut().expect("it is open");
        let message = tokio::time::timeout(SOON, stream.message()).await.expect("it shows that it lives")?;
        let message = message.expect("it ends with an error only");
        self.snapshots += u32::from(message.snapshot_start);
        assert!(message.elapsed_ms >= self.elapsed_ms, "proofs do not go back");
        self.elapsed_ms = message.elapsed_ms;
        self.has = (message.user_epoch, message.position);
        self.following.apply(FollowChange {
            snapshot_start: message.snapshot_start,
            snapshot_end: message.snapshot_end,
            followed: message.followed,
            unfollowed: message.unfollowed,
        });
        Ok(())
    }

    /// Takes messages until it has what was written at a position.
    async fn reach(&mut self, position: u64) {
        while self.has.1 < position {
            self.take().await.expect("it goes on");
        }
    }

    /// How it ends.
    async fn end(&mut self) -> Status {
        loop {
            if let Err(status) = self.take().await {
                return status;
            }
        }
    }

    fn set(&self) -> BTreeSet<String> {
        self.following.iter().map(str::to_owned).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn following_is_idempotent_and_answers_agree() {
    let cell = Cell::start().await;
    let ann = cell.register().await;
    assert_eq!(follow(&cell, &ann, "bob").await, (true, 2), "her registration was the first write");
    assert_eq!(follow(&cell, &ann, "bob").await, (false, 3));
    let request = BatchFollowRequest {
        user_id: ann.clone(),
        target_ids: ["bob", "cid", "dan", "cid"].map(str::to_owned).to_vec(),
    };
    let batch = cell.follow().batch_follow(request).await.expect("at home");
    assert_eq!((batch.get_ref().changed_count, position(&batch)), (2, 4));
    assert_eq!(unfollow(&cell, &ann, "cid").await, (true, 5));
    assert_eq!(unfollow(&cell, &ann, "cid").await, (false, 6));
    assert_eq!(is_following(&cell, &ann, "bob").await, (true, 6));
    assert_eq!(is_following(&cell, &ann, "cid").await, (false, 6));
    assert_eq!(is_following(&cell, &ann, &ann).await, (false, 6));

    let long = "x".repeat(257);
    let asked = ["dan", "cid", &long, "", "dan"].map(str::to_owned).to_vec();
    let request = BatchIsFollowingRequest { user_id: ann.clone(), target_ids: asked.clone() };
    let results = cell.follow().batch_is_following(request).await.expect("at home").into_inner().results;
    assert_eq!(results.iter().map(|result| result.target_id.clone()).collect::<Vec<_>>(), asked);
    let answers: Vec<_> = results.iter().map(|result| (result.following, Code::from(result.code))).collect();
    let bad = (false, Code::InvalidArgument);
    assert_eq!(answers, [(true, Code::Ok), (false, Code::Ok), bad, bad, (true, Code::Ok)], "each for itself");
    assert!(results[2].message.contains("257 bytes"), "{}", results[2].message);

    let page = |page_token: String| ListFollowingRequest { user_id: ann.clone(), page_size: 1, page_token };
    let first = cell.follow().list_following(page(String::new())).await.expect("at home").into_inner();
    let second = cell.follow().list_following(page(first.next_page_token)).await.expect("at home").into_inner();
    assert_eq!((first.target_ids, second.target_ids), (vec!["bob".to_owned()], vec!["dan".to_owned()]));
    assert_eq!(second.next_page_token, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_follows_too_many_is_told_how_many_he_may() {
    let cell = Cell::start().await;
    let ann = cell.register().await;
    let batch = async |from: usize| {
        let target_ids = (from..from + 1_000).map(|n| format!("target-{n}")).collect();
        cell.follow().batch_follow(BatchFollowRequest { user_id: ann.clone(), target_ids }).await
    };
    for n in 0..100 {
        batch(n * 1_000).await.expect("room for them");
    }
    let mut watcher = Watcher::default();
    watcher.open(&cell, &ann).await.expect("at home");
    watcher.reach(101).await;
    assert_eq!((watcher.following.len(), watcher.snapshots), (100_000, 1), "in many pieces");
    let refused = batch(99_999).await.expect_err("one too many");
    assert_shop(&refused, Code::FailedPrecondition, "TOO_MANY_FOLLOWED");
    assert_eq!(info(&refused, "max").as_deref(), Some("100000"));
}

/// Random writes under a stream that is cut at any moment: at each position told, the receiver has what the server says.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_watches_has_what_the_server_says() {
    let seed = std::env::var("CELLMESH_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(rand::random);
    println!("whoever_watches_has_what_the_server_says: CELLMESH_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let cell = Cell::start().await;
    let ann = cell.register().await;
    let mut watcher = Watcher::default();
    watcher.open(&cell, &ann).await.expect("at home");
    let (mut cuts, mut checks) = (0, 0);
    let ops = if std::env::var_os("CELLMESH_SOAK").is_some() { 20_000 } else { 300 };
    for _ in 0..ops {
        write(&cell, &ann, &mut rng).await;
        if rng.random_bool(0.1) {
            watcher.stream = None;
            cuts += 1;
            for _ in 0..rng.random_range(0..4) {
                write(&cell, &ann, &mut rng).await;
            }
            watcher.open(&cell, &ann).await.expect("at home");
        }
        if rng.random_bool(0.3) {
            watcher.take().await.expect("it goes on");
        }
        if rng.random_bool(0.2) {
            let (set, position) = truth(&cell, &ann).await;
            watcher.reach(position).await;
            assert_eq!((watcher.set(), watcher.has.1), (set, position));
            let target = target(&mut rng);
            let here = watcher.following.check(&target).expect("the snapshot is in");
            assert_eq!((here, position), is_following(&cell, &ann, &target).await);
            checks += 1;
        }
    }
    assert_eq!(watcher.snapshots, 1, "every cut was continued");
    println!("figure: watch_following N={ops} cuts={cuts} checks={checks}");
}

fn target(rng: &mut impl Rng) -> String {
    format!("target-{}", rng.random_range(0..40))
}

async fn write(cell: &Cell, user_id: &str, rng: &mut impl Rng) {
    if rng.random_bool(0.6) {
        follow(cell, user_id, &target(rng)).await;
    } else {
        unfollow(cell, user_id, &target(rng)).await;
    }
}

/// A move ends the stream; the new home, whose owner's epoch is another, begins with a snapshot and counts on.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_home_begins_with_a_snapshot_and_counts_on() {
    let (old, new) = (Cell::start().await, Setup::of("sh-1").start().await);
    let ann = old.register().await;
    for target in ["bob", "cid", "dan"] {
        follow(&old, &ann, target).await;
    }
    let mut watcher = Watcher::default();
    watcher.open(&old, &ann).await.expect("at home");
    watcher.reach(4).await;
    assert_eq!(unfollow(&old, &ann, "cid").await, (true, 5));

    let participants = participants();
    let (from, to) = (&old.running.context().db, &new.running.context().db);
    let key = UserKey::from_text(&ann).expect("a key");
    steps::carry_all(1, from, to, &key, 0, &participants).await;
    let ended = watcher.end().await;
    assert_mesh(&ended, Code::Unavailable, "MOVED");
    let named = info(&ended, "owner");
    assert!(named.is_none() || named.as_deref() == Some("sh-1"), "{ended:?}");
    assert_eq!(watcher.has, (0, 5), "all of the old home was told");
    let refused = watcher.open(&old, &ann).await.expect_err("no longer at home");
    assert_mesh(&refused, Code::FailedPrecondition, "WRONG_CELL");

    assert_eq!(follow(&new, &ann, "eve").await, (true, 6), "the new home counts on");
    watcher.open(&new, &ann).await.expect("at home");
    watcher.reach(6).await;
    assert_eq!((watcher.has, watcher.snapshots), ((1, 6), 2));
    assert_eq!(watcher.set(), truth(&new, &ann).await.0);
    // And back, with what is left of the first stay.
    steps::carry_all(2, to, from, &key, 1, &participants).await;
    assert_mesh(&watcher.end().await, Code::Unavailable, "MOVED");
    assert_eq!(follow(&old, &ann, "cid").await, (true, 7));
    watcher.open(&old, &ann).await.expect("at home");
    watcher.reach(7).await;
    assert_eq!((watcher.has, watcher.snapshots), ((2, 7), 3));
    assert_eq!(watcher.set(), ["bob", "cid", "dan", "eve"].map(str::to_owned).into());
    assert_eq!(old.running.context().cell, id("bj-1"));
}

fn participants() -> Participants {
    let participants: Vec<Arc<dyn UserData>> =
        cell_services::services().iter().flat_map(|service| service.participants()).collect();
    participants.into()
}

/// The user stays, but his owner's epoch is another: nothing is continued over that, neither in the stream nor by a new one.
#[tokio::test(flavor = "multi_thread")]
async fn an_aborted_move_begins_with_a_snapshot() {
    let (cell, other) = (Cell::start().await, Setup::of("sh-1").start().await);
    let ann = cell.register().await;
    follow(&cell, &ann, "bob").await;
    let (mut kept, mut cut) = (Watcher::default(), Watcher::default());
    for watcher in [&mut kept, &mut cut] {
        watcher.open(&cell, &ann).await.expect("at home");
        watcher.reach(2).await;
    }
    cut.stream = None;
    let (from, to) = (&cell.running.context().db, &other.running.context().db);
    let key = UserKey::from_text(&ann).expect("a key");
    let plan = UserMove::new(MoveId(1), from.cell().clone(), to.cell().clone(), UserEpoch::new(0)).expect("two cells");
    from.ownership().claim(&key, &plan, 1).await.expect("claimed");
    to.ownership().prepare(&key, &plan, 1, participants()).await.expect("prepared");
    from.ownership().abort(&key, &plan, 1).await.expect("aborted");
    assert_eq!(follow(&cell, &ann, "cid").await, (true, 3));
    cut.open(&cell, &ann).await.expect("at home");
    for mut watcher in [kept, cut] {
        watcher.reach(3).await;
        assert_eq!((watcher.has, watcher.snapshots), ((1, 3), 2));
        assert_eq!(watcher.set(), ["bob", "cid"].map(str::to_owned).into());
    }
}

/// However much a receiver missed: what he has is the set at the position that he is told.
#[tokio::test(flavor = "multi_thread")]
async fn who_missed_much_has_the_set_of_the_position_he_is_told() {
    let cell = Cell::start().await;
    let ann = cell.register().await;
    let mut sets = vec![BTreeSet::new(); 2];
    let mut watcher = Watcher::default();
    watcher.open(&cell, &ann).await.expect("at home");
    watcher.reach(1).await;
    watcher.stream = None;
    let note = |sets: &mut Vec<BTreeSet<String>>, targets: &[String], follow: bool| {
        let mut next = sets.last().expect("one").clone();
        targets.iter().for_each(|target| {
            if follow {
                next.insert(target.clone())
            } else {
                next.remove(target)
            };
        });
        sets.push(next);
    };
    follow(&cell, &ann, "bob").await;
    note(&mut sets, &["bob".to_owned()], true);
    for n in 0..3 {
        let target_ids: Vec<String> = (0..1_000).map(|m| format!("target-{n}-{m}")).collect();
        note(&mut sets, &target_ids, true);
        cell.follow().batch_follow(BatchFollowRequest { user_id: ann.clone(), target_ids }).await.expect("at home");
    }
    // His row is now one of the last, though he was followed at all positions in between.
    unfollow(&cell, &ann, "bob").await;
    note(&mut sets, &["bob".to_owned()], false);
    watcher.open(&cell, &ann).await.expect("at home");
    while watcher.has.1 < 6 {
        watcher.take().await.expect("it goes on");
        let position = usize::try_from(watcher.has.1).expect("small");
        if position > 0 {
            assert!(watcher.set() == sets[position], "{} of {}", watcher.following.len(), sets[position].len());
        }
    }
}

/// A drain ends streams with an error, so that whoever listens opens them elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn a_drain_ends_streams_for_others_to_take_over() {
    let cell = Cell::start().await;
    let ann = cell.register().await;
    let mut watcher = Watcher::default();
    watcher.open(&cell, &ann).await.expect("at home");
    watcher.take().await.expect("a snapshot");
    cell.running.shutdown();
    let ended = watcher.end().await;
    assert_mesh(&ended, Code::Unavailable, "CELL_DRAINING");
    assert!(ended.get_details_retry_info().is_none(), "at once");
}

/// The answer of another call of the user tells a position that the stream reaches, whatever was written.
#[tokio::test(flavor = "multi_thread")]
async fn other_writes_of_a_user_advance_his_stream() {
    let cell = Cell::start().await;
    let ann = cell.rich(1_000).await;
    let mut watcher = Watcher::default();
    watcher.open(&cell, &ann).await.expect("at home");
    watcher.take().await.expect("a snapshot");
    let amount = Some(shop_proto::trade_v1::Money { currency_code: "CNY".into(), minor_units: 5 });
    let top_up = shop_proto::trade_v1::TopUpRequest { user_id: ann.clone(), request_id: "again".into(), amount };
    let first = cell.trade().top_up(top_up.clone()).await.expect("topped up");
    watcher.reach(position(&first)).await;
    assert_eq!((watcher.has.1, watcher.following.len()), (position(&first), 0));
    follow(&cell, &ann, "bob").await;
    let replayed = cell.trade().top_up(top_up).await.expect("answered again");
    assert_eq!(position(&replayed), position(&first) + 1, "a repetition tells the present position");
}
