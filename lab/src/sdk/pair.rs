//! Pairs of blocks of calls, run by turns.

use super::{
    local::Known,
    server::{Client, Served, members},
};
use crate::results::Spread;
use futures_util::future::LocalBoxFuture;
use serde::Serialize;
use std::{rc::Rc, sync::Arc, time::Instant};

/// A measured pair. Times are nanoseconds a call.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Pair {
    /// What is compared, the first with the second.
    pub what: &'static str,
    /// What is between client and server.
    pub transport: &'static str,
    /// How many call at once.
    pub callers: usize,
    /// What issue 4 asks for.
    pub goal: &'static str,
    /// The first's time.
    pub first_ns: Spread,
    /// The second's time.
    pub second_ns: Spread,
    /// What the second takes more, round by round.
    pub added_ns: Spread,
    /// How many times the first's rate the second's is, round by round.
    pub times: Spread,
}

/// Some calls; returns nanoseconds a call.
#[derive(Clone)]
pub(super) struct Block(Rc<dyn Fn() -> LocalBoxFuture<'static, anyhow::Result<f64>>>);

impl Block {
    /// Requests for local answers, and the answers, if wanted. The time is the median of short runs.
    pub fn local(known: &Rc<Known>, answered: bool) -> Self {
        let known = Rc::clone(known);
        Self(Rc::new(move || {
            let known = Rc::clone(&known);
            Box::pin(async move {
                // What keeps the data fresh has its turn.
                tokio::task::yield_now().await;
                known.run(answered)
            })
        }))
    }

    /// So many calls by so many callers at once, each a task.
    pub fn calls(client: Client, callers: usize, calls: usize) -> Self {
        let each = (calls / callers).max(1);
        let members = members(each * callers);
        Self(Rc::new(move || {
            let (client, members) = (client.clone(), Arc::clone(&members));
            Box::pin(async move {
                let began = Instant::now();
                if callers == 1 {
                    client.call(members, 0..each).await?;
                } else {
                    let call = |caller| client.clone().call(Arc::clone(&members), caller * each..(caller + 1) * each);
                    let tasks: Vec<_> = (0..callers).map(|caller| tokio::spawn(call(caller))).collect();
                    for task in tasks {
                        task.await??;
                    }
                }
                Ok(began.elapsed().as_nanos() as f64 / (each * callers) as f64)
            })
        }))
    }
}

struct Running {
    pair: (&'static str, &'static str, usize, &'static str),
    blocks: [Block; 2],
    values: [Vec<f64>; 3],
}

/// Pairs, and the servers they need.
#[derive(Default)]
pub(super) struct Pairs {
    running: Vec<Running>,
    _held: Vec<Served>,
}

impl Pairs {
    pub fn add(
        &mut self,
        what: &'static str,
        transport: &'static str,
        callers: usize,
        goal: &'static str,
        first: Block,
        second: Block,
    ) {
        let pair = (what, transport, callers, goal);
        self.running.push(Running { pair, blocks: [first, second], values: Default::default() });
    }

    /// Keeps a server until the end.
    pub fn hold(&mut self, served: Served) {
        self._held.push(served);
    }

    /// One round warms up, then `rounds` count; each is the median of some repeats.
    pub async fn run(&mut self, rounds: usize, repeats: usize) -> anyhow::Result<()> {
        for round in 0..=rounds {
            for running in &mut self.running {
                let (mut times, mut added) = ([Vec::new(), Vec::new()], Vec::new());
                for repeat in 0..repeats {
                    let order = if (round + repeat) % 2 == 0 { [0, 1] } else { [1, 0] };
                    for which in order {
                        times[which].push((running.blocks[which].0)().await?);
                    }
                    added.push(times[1][repeat] - times[0][repeat]);
                }
                if round > 0 {
                    let [first, second] = times;
                    for (values, of) in running.values.iter_mut().zip([first, second, added]) {
                        values.push(Spread::of(&of).median);
                    }
                }
            }
            eprintln!("round {round} of {rounds}");
        }
        Ok(())
    }

    pub fn results(&self) -> Vec<Pair> {
        let result = |running: &Running| {
            let (what, transport, callers, goal) = running.pair;
            let [first, second, added] = &running.values;
            let (first_ns, second_ns, added_ns) = (Spread::of(first), Spread::of(second), Spread::of(added));
            let times = Spread::of_ratios(first, second);
            Pair { what, transport, callers, goal, first_ns, second_ns, added_ns, times }
        };
        self.running.iter().map(result).collect()
    }
}
