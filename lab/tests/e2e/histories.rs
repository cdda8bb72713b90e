//! Reads and writes of many users through several clients while streams fall silent, processes are killed and maps are old:
//! each call is recorded, and afterwards the histories are checked for reads that do not show what they must.

use crate::{
    kill::signal,
    mesh::{Mesh as Processes, register, scale},
    stale_map::stale_router,
};
use anyhow::Context as _;
use client_sdk::{Call, Error, Fresh, Mesh, Method, Reply, Source, Token};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use shop_client::{FollowCheck, follow::FollowServiceClient, trade::TradeServiceClient};
use shop_proto::{follow_v1 as follow, trade_v1 as trade};
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::{task::JoinSet, time::sleep};

/// What a local answer may be older at most (client-sdk's default).
const LEASE: Duration = Duration::from_secs(10);

/// One call whose outcome is known.
#[derive(Clone, Copy, Debug)]
struct Done {
    user: usize,
    began: Duration,
    ended: Duration,
    what: What,
}

#[derive(Clone, Copy, Debug)]
enum What {
    /// Follows a target for the first and only time.
    Followed(u32),
    /// Follows it no longer, for ever.
    Unfollowed(u32),
    ToppedUp(i64),
    /// `lag`: how old the answer may be.
    Saw {
        target: u32,
        following: bool,
        lag: Duration,
    },
    SawBalance(i64),
}

/// When a write was begun and when it was acknowledged.
type Span = (Duration, Duration);

/// Every read that broke its promise. A write is visible at some moment between its call and its answer; a read must be
/// explained by a moment between its call (less the age it allowed) and its answer.
fn broken(history: &[Done]) -> Vec<String> {
    let (mut followed, mut unfollowed) = (BTreeMap::<(usize, u32), Span>::new(), BTreeMap::<(usize, u32), Span>::new());
    let mut paid = BTreeMap::<usize, Vec<(Span, i64)>>::new();
    for &Done { user, began, ended, what } in history {
        match what {
            What::Followed(target) => drop(followed.insert((user, target), (began, ended))),
            What::Unfollowed(target) => drop(unfollowed.insert((user, target), (began, ended))),
            What::ToppedUp(amount) => paid.entry(user).or_default().push(((began, ended), amount)),
            What::Saw { .. } | What::SawBalance(_) => {}
        }
    }
    let mut found = Vec::new();
    for read in history {
        let explained = match read.what {
            What::Saw { target, following, lag } => {
                let (from, to) = (read.began.saturating_sub(lag), read.ended);
                let begun = |span: Option<&Span>| span.is_some_and(|(began, _)| *began <= to);
                let surely = |span: Option<&Span>| span.is_some_and(|(_, ended)| *ended <= from);
                let (follow, unfollow) = (followed.get(&(read.user, target)), unfollowed.get(&(read.user, target)));
                if following { begun(follow) && !surely(unfollow) } else { !surely(follow) || begun(unfollow) }
            }
            What::SawBalance(seen) => {
                let sum = |counts: &dyn Fn(&Span) -> bool| -> i64 {
                    paid.get(&read.user)
                        .into_iter()
                        .flatten()
                        .filter(|(span, _)| counts(span))
                        .map(|(_, fen)| fen)
                        .sum()
                };
                (sum(&|(_, ended)| *ended <= read.began)..=sum(&|(began, _)| *began <= read.ended)).contains(&seen)
            }
            _ => true,
        };
        if !explained {
            found.push(format!("{read:?}"));
        }
    }
    found
}

#[test]
fn the_checker_finds_what_is_planted() {
    let at = |began, ended, what| Done {
        user: 1,
        began: Duration::from_secs(began),
        ended: Duration::from_secs(ended),
        what,
    };
    let saw = |following, lag| What::Saw { target: 7, following, lag: Duration::from_secs(lag) };
    let writes = [
        at(10, 12, What::Followed(7)),
        at(40, 42, What::Unfollowed(7)),
        at(10, 12, What::ToppedUp(5)),
        at(20, 22, What::ToppedUp(6)),
    ];
    for (read, right) in [
        (at(1, 9, saw(true, 0)), false),
        (at(1, 10, saw(true, 0)), true),
        (at(11, 13, saw(false, 0)), true),
        (at(12, 13, saw(false, 0)), false),
        (at(21, 22, saw(false, 10)), true),
        (at(22, 23, saw(false, 10)), false),
        (at(30, 40, saw(false, 0)), true),
        (at(42, 43, saw(true, 0)), false),
        (at(51, 52, saw(true, 10)), true),
        (at(12, 13, What::SawBalance(0)), false),
        (at(12, 13, What::SawBalance(5)), true),
        (at(12, 20, What::SawBalance(11)), true),
        (at(22, 23, What::SawBalance(5)), false),
        (at(30, 31, What::SawBalance(12)), false),
    ] {
        let history: Vec<Done> = writes.into_iter().chain([read]).collect();
        assert_eq!(broken(&history).is_empty(), right, "{read:?}");
    }
}

/// A user as all sessions know him.
#[derive(Default)]
struct User {
    id: String,
    /// Of the latest write or read that anybody was answered.
    token: Option<Token>,
    targets: u32,
    /// Followed by a call that was made once and answered: no second copy of it can come late.
    unfollowable: Vec<u32>,
}

/// What the sessions share.
struct Shared {
    users: Vec<Mutex<User>>,
    clients: Vec<Mutex<Mesh>>,
    origin: Instant,
    history: Mutex<Vec<Done>>,
    refused: AtomicU64,
    inside: AtomicU64,
}

impl Shared {
    fn user(&self, user: usize) -> std::sync::MutexGuard<'_, User> {
        self.users[user].lock().expect("no panic")
    }

    /// Notes a call that was answered: its token first, for whoever reads after its end must ask for it.
    fn done<T>(&self, user: usize, began: Duration, reply: &Reply<T>, what: What) {
        if let Some(token) = reply.token.clone() {
            let mut user = self.user(user);
            user.token = Some(match user.token.take() {
                Some(known) => known.later(token),
                None => token,
            });
        }
        let done = Done { user, began, ended: self.origin.elapsed(), what };
        self.history.lock().expect("no panic").push(done);
    }

    /// A write, repeated until it is acknowledged; and whether it was sent only once.
    async fn write<'a, M: Method>(&self, call: impl Fn() -> Call<'a, M>) -> (Reply<M::Response>, bool) {
        let mut once = true;
        loop {
            match call().await {
                Ok(reply) => {
                    let first = matches!(reply.source, Source::Remote { attempts: 1, .. });
                    return (reply, once && first);
                }
                Err(_) => {
                    once = false;
                    self.refused.fetch_add(1, Relaxed);
                    sleep(Duration::from_millis(20)).await;
                }
            }
        }
    }

    /// One call of a session.
    async fn step(&self, random: &mut StdRng, serial: u64) -> anyhow::Result<()> {
        let at = random.random_range(0..self.users.len());
        let mesh = self.clients[random.random_range(0..self.clients.len())].lock().expect("no panic").clone();
        let (follows, trade) = (FollowServiceClient::new(&mesh), TradeServiceClient::new(&mesh));
        let (user_id, token) = {
            let user = self.user(at);
            (user.id.clone(), user.token.clone())
        };
        let within = Duration::from_secs(3);
        let began = self.origin.elapsed();
        let name = |target: u32| format!("target-{target}");
        match random.random_range(0..100) {
            0..20 => {
                let target = {
                    let mut user = self.user(at);
                    user.targets += 1;
                    user.targets
                };
                let request = follow::FollowRequest { user_id, target_id: name(target) };
                let (reply, once) = self.write(|| follows.follow(request.clone()).deadline(within)).await;
                self.done(at, began, &reply, What::Followed(target));
                if once {
                    self.user(at).unfollowable.push(target);
                }
            }
            20..25 => {
                let Some(target) = self.user(at).unfollowable.pop() else { return Ok(()) };
                let request = follow::UnfollowRequest { user_id, target_id: name(target) };
                let (reply, _) = self.write(|| follows.unfollow(request.clone()).deadline(within)).await;
                self.done(at, began, &reply, What::Unfollowed(target));
            }
            25..30 => {
                let fen = random.random_range(1..1000);
                let amount = Some(trade::Money { currency_code: "CNY".to_owned(), minor_units: fen });
                let request = trade::TopUpRequest { user_id, request_id: format!("top-up-{serial}"), amount };
                let (reply, _) = self.write(|| trade.top_up(request.clone()).deadline(within)).await;
                self.done(at, began, &reply, What::ToppedUp(fen));
            }
            30..40 => {
                let fresh = token.map_or(Fresh::Authoritative, Fresh::AtLeast);
                let request = trade::GetWalletRequest { user_id };
                match trade.get_wallet(request).deadline(within).fresh(fresh).await {
                    Ok(reply) => {
                        let wallet = reply.value.wallet.clone().context("no wallet")?;
                        let seen = wallet.balance.context("no balance")?.minor_units;
                        self.done(at, began, &reply, What::SawBalance(seen));
                    }
                    Err(_) => drop(self.refused.fetch_add(1, Relaxed)),
                }
            }
            kind => {
                let target = random.random_range(0..=self.user(at).targets);
                let (fresh, lag) = match token {
                    Some(token) if kind < 80 => (Fresh::AtLeast(token), Duration::ZERO),
                    _ => (Fresh::Any, LEASE),
                };
                let request = follow::IsFollowingRequest { user_id, target_id: name(target) };
                match follows.is_following(request).deadline(within).fresh(fresh).await {
                    Ok(reply) => {
                        if matches!(reply.source, Source::Local { .. }) {
                            self.inside.fetch_add(1, Relaxed);
                        }
                        let following = reply.value.following;
                        self.done(at, began, &reply, What::Saw { target, following, lag });
                    }
                    Err(_) => drop(self.refused.fetch_add(1, Relaxed)),
                }
            }
        }
        Ok(())
    }
}

/// Stops a process for a while: its streams fall silent, and what it was sent and had sent waits.
async fn pause(pid: Option<u32>, long: Duration) -> anyhow::Result<()> {
    let pid = pid.context("it does not run")?;
    signal(pid, "STOP")?;
    sleep(long).await;
    signal(pid, "CONT")
}

fn client(seeds: impl IntoIterator<Item = String>, last_good: &Path) -> Result<Mesh, Error> {
    Mesh::builder().seeds(seeds).last_good(last_good).local_logic(FollowCheck)?.build()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_show_ones_own_writes_whatever_breaks() -> anyhow::Result<()> {
    let seed: u64 = rand::random();
    println!("seed: {seed}");
    let calls = u64::from(scale(15_000, 100_000));
    let mut processes = Processes::start().await?;
    let dir = tempfile::tempdir()?;
    let stale = stale_router(&processes, dir.path()).await?;
    let doors = [processes.bj().front, processes.sh().front];
    let mut users = Vec::new();
    for n in 0..100 {
        users.push(Mutex::new(User { id: register(doors[n % 2]).await?, ..User::default() }));
    }
    // One begins at each cell's door, one at the router that believes an old map.
    let doors = [doors[0], doors[1], stale.front].map(|door| door.to_string());
    let last_good = [0, 1, 2].map(|n| dir.path().join(format!("client-{n}.pb")));
    let clients = doors.iter().zip(&last_good).map(|(door, path)| Ok(Mutex::new(client([door.clone()], path)?)));
    let shared = Arc::new(Shared {
        users,
        clients: clients.collect::<Result<_, Error>>()?,
        origin: Instant::now(),
        history: Mutex::default(),
        refused: AtomicU64::new(0),
        inside: AtomicU64::new(0),
    });

    let (serial, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let mut sessions = JoinSet::new();
    for session in 0..16_u64 {
        let (shared, serial, over) = (Arc::clone(&shared), Arc::clone(&serial), Arc::clone(&over));
        let mut random = StdRng::seed_from_u64(seed ^ session);
        sessions.spawn(async move {
            while !over.load(Relaxed) {
                let mine = serial.fetch_add(1, Relaxed);
                shared.step(&mut random, mine).await?;
                // An answer from inside gives nobody else a turn.
                tokio::task::yield_now().await;
            }
            anyhow::Ok(())
        });
    }

    let mut random = StdRng::seed_from_u64(!seed);
    let mut faults = [0_u32; 4];
    while serial.load(Relaxed) < calls || faults.iter().sum::<u32>() < 12 {
        sleep(Duration::from_millis(random.random_range(200..900))).await;
        let at = random.random_range(0..2);
        // The first is longer than the lease.
        let fault = if faults[0] == 0 { 0 } else { random.random_range(0..4) };
        faults[fault] += 1;
        let cell = &mut processes.cells[at];
        match fault {
            0 => {
                let long = if faults[0] == 1 { 11_500 } else { random.random_range(100..3000) };
                pause(cell.services_pid(), Duration::from_millis(long)).await?;
            }
            1 => {
                cell.kill9_services().await?;
                cell.start_services().await?;
            }
            2 => {
                cell.kill9_router().await?;
                cell.start_router().await?;
            }
            // A client's process ends and begins anew, with what it kept on disk.
            _ => {
                let n = random.random_range(0..shared.clients.len());
                let mesh = client([doors[n].clone()], &last_good[n])?;
                let old = std::mem::replace(&mut *shared.clients[n].lock().expect("no panic"), mesh);
                old.close();
            }
        }
    }
    over.store(true, Relaxed);
    while let Some(session) = sessions.join_next().await {
        session??;
    }

    let history = std::mem::take(&mut *shared.history.lock().expect("no panic"));
    let writes = history.iter().filter(|done| !matches!(done.what, What::Saw { .. } | What::SawBalance(_))).count();
    println!(
        "figure: reads and writes checked N={} ({writes} writes, {} answered inside, {} refused or repeated), faults: \
         {faults:?} pauses, services killed, routers killed, clients restarted; {:.0} s",
        history.len(),
        shared.inside.load(Relaxed),
        shared.refused.load(Relaxed),
        shared.origin.elapsed().as_secs_f64(),
    );
    let broken = broken(&history);
    assert!(
        broken.is_empty(),
        "seed {seed}: {} reads are not explained: {:#?}",
        broken.len(),
        &broken[..broken.len().min(20)]
    );
    assert!(history.len() as u64 >= calls / 2, "the load was real");
    drop(stale);
    processes.shutdown().await
}
