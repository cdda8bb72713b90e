//! A home that writes, streams and fails at random, and a client that must never be wrong beyond its lease.

use super::{names::*, world::*};
use crate::{Fresh, Token};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::time::Duration;
use tokio::time::{Instant, sleep};

const LEASE: Duration = ms(10_000);
const NAMES: [&str; 4] = ["bob", "cat", "dan", "eve"];

/// Whom ann followed when: each state with when it was written, and her position then.
struct History(Vec<(Instant, u8, (u64, u64))>);

impl History {
    fn now(&self) -> (u8, (u64, u64)) {
        let last = self.0.last().unwrap();
        (last.1, last.2)
    }

    /// Whether an answer was true at some time between these two.
    fn allows(&self, name: usize, yes: bool, from: Instant, to: Instant) -> bool {
        let ends = self.0.iter().skip(1).map(|state| state.0).chain([to + ms(1)]);
        self.0.iter().zip(ends).any(|(state, end)| state.0 <= to && end >= from && (state.1 >> name & 1 == 1) == yes)
    }
}

/// The server's end of the client's present stream.
struct Serving {
    stream: Sender,
    opened: Instant,
    /// Up to where changes were sent.
    sent: (u64, u64),
    /// What was written to the stream, and comes later.
    late: Vec<(Instant, SubscribeResponse)>,
    delay: Duration,
    silent: bool,
}

fn names(set: u8) -> Vec<&'static str> {
    (0..NAMES.len()).filter(|name| set >> name & 1 == 1).map(|name| NAMES[name]).collect()
}

impl Serving {
    fn write(&mut self, message: SubscribeResponse) {
        if !self.silent {
            self.late.push((Instant::now() + self.delay, message));
        }
    }

    fn deliver(&mut self) {
        while self.late.first().is_some_and(|(at, _)| *at <= Instant::now()) {
            self.stream.send(&self.late.remove(0).1);
        }
    }

    /// Reads the home's table and writes what the client does not have.
    fn look(&mut self, history: &History) {
        let elapsed = u64::try_from(self.opened.elapsed().as_millis()).unwrap();
        let (set, (epoch, position)) = history.now();
        if self.sent.0 != epoch {
            // The whole, in two pieces.
            let (names, here) = (names(set), at(epoch, position));
            let half = names.len() / 2;
            let first = snapshot(elapsed, here, &names[..half]);
            self.write(SubscribeResponse { snapshot_end: false, ..first });
            let second = snapshot(elapsed, here, &names[half..]);
            self.write(SubscribeResponse { snapshot_start: false, ..second });
        } else if self.sent.1 < position {
            let all = NAMES.to_vec();
            let removed: Vec<_> = all.iter().copied().filter(|name| !names(set).contains(name)).collect();
            self.write(change(elapsed, at(epoch, position), &names(set), &removed));
        }
        self.sent = (epoch, position);
        self.write(heartbeat(elapsed, at(epoch, position)));
    }
}

async fn run(seed: u64) -> (usize, usize, usize) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut world = World::new(settings(), |logics| logics.register(FollowCheck::default()).unwrap());
    let mut history = History(vec![(Instant::now(), 0b0001, (0, 1))]);
    let mut serving: Option<Serving> = None;
    let (mut answered, mut remote, mut tokens) = (0, 0, 0);
    // A home that is cut off takes no streams for a while.
    let mut down_until = Instant::now();
    for _ in 0..2000 {
        sleep(ms(rng.random_range(1..400))).await;
        // Writes, sometimes a move: it raises the epoch and ends the stream, if the news gets through.
        if rng.random_bool(0.3) {
            let (set, (epoch, position)) = history.now();
            let moved = rng.random_bool(0.05);
            history.0.push((Instant::now(), set ^ rng.random_range(0..16), (epoch + u64::from(moved), position + 1)));
            if moved && rng.random_bool(0.7) {
                serving = None;
            } else if moved && let Some(serving) = &mut serving {
                // The former home is cut off and says nothing any more.
                serving.silent = true;
            }
        }
        if rng.random_bool(0.01) {
            serving = None;
            down_until = Instant::now() + ms(rng.random_range(0..15_000));
        }
        if let Some(serving) = &mut serving {
            serving.silent |= rng.random_bool(0.005);
            if rng.random_bool(0.02) {
                // Later than what was written before: a stream keeps its order.
                serving.delay = serving.delay.max(ms(rng.random_range(0..12_000)));
            }
            if rng.random_bool(0.5) {
                serving.look(&history);
            }
            if rng.random_bool(0.02)
                && let Some(last) = serving.late.last().cloned()
            {
                serving.late.push(last);
            }
            serving.deliver();
        }
        settle().await;
        if serving.as_ref().is_none_or(|serving| serving.stream.is_gone())
            && let Ok(opened) = tokio::time::timeout(ms(0), world.opened()).await
            && Instant::now() >= down_until
        {
            // Resumes, or sends everything; in a former epoch nothing can be resumed.
            let from = opened.from().filter(|from| from.incarnation == history.now().1.0 && rng.random_bool(0.7));
            let sent = from.map_or((u64::MAX, 0), |from| (from.incarnation, from.sequence));
            let delay = ms(rng.random_range(0..50));
            let (opened, stream) = (Instant::now(), opened.accept("bj-1"));
            serving = Some(Serving { stream, opened, sent, late: Vec::new(), delay, silent: false });
        }
        // Answers.
        let name = rng.random_range(0..NAMES.len());
        let now = Instant::now();
        match world.here::<IsFollowing>("ann", NAMES[name], Fresh::Any) {
            None => remote += 1,
            Some(here) => {
                answered += 1;
                assert!(here.age <= LEASE, "seed {seed}: {here:?}");
                assert!(
                    history.allows(name, here.yes, now - here.age, now),
                    "seed {seed}: {} is not {here:?}",
                    NAMES[name]
                );
            }
        }
        let max = ms(rng.random_range(0..3000));
        if let Some(here) = world.here::<IsFollowing>("ann", NAMES[name], Fresh::MaxAge(max)) {
            assert!(here.age <= max, "seed {seed}");
        }
        // A write that was read somewhere is seen here, or the server is asked.
        let state = &history.0[rng.random_range(history.0.len().saturating_sub(5)..history.0.len())];
        let token = Token::new("bj-1".parse().unwrap(), state.2.0, state.2.1);
        if let Some(here) = world.here::<IsFollowing>("ann", NAMES[name], Fresh::AtLeast(token)) {
            tokens += 1;
            assert!(history.allows(name, here.yes, state.0, now), "seed {seed}: {state:?} is not shown by {here:?}");
        }
    }
    (answered, remote, tokens)
}

#[tokio::test(start_paused = true)]
async fn no_answer_is_wrong_beyond_its_age_whatever_streams_do() {
    let first: u64 = rand::random();
    let (mut answered, mut remote, mut tokens) = (0, 0, 0);
    for seed in (0..30).map(|round| first.wrapping_add(round)) {
        let counts = run(seed).await;
        (answered, remote, tokens) = (answered + counts.0, remote + counts.1, tokens + counts.2);
    }
    println!(
        "figure: random local answers N={answered}, by token N={tokens}, left to the server N={remote}, first seed {first}"
    );
    assert!(answered > 10_000 && remote > 1_000 && tokens > 1_000, "{answered} {remote} {tokens}");
}
