//! A logic with its data.

use super::{
    Data, Evaluator, LocalLogic, LogicStats, Verdict,
    counts::Counts,
    data::{Ask, Source as DataSource},
    fit::Demand,
    shadow,
    switch::Switch,
    wall::Wall,
};
use crate::{
    CallOptions, Method, Reply, Source,
    feed::{Feeds, Line, Moment, Standing},
};
use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{runtime::Handle, sync::Semaphore};

/// Answers compared at a time, of one logic.
const COMPARISONS: usize = 4;

pub(super) type Request<L> = <<L as LocalLogic>::Method as Method>::Request;
pub(super) type Seen<L> = <<L as LocalLogic>::Data as DataSource>::Seen;
pub(super) type Response<L> = <<L as LocalLogic>::Method as Method>::Response;

/// A logic with its data.
pub(super) struct Answerer<L: LocalLogic> {
    logic: Arc<L>,
    data: <L::Data as DataSource>::Held,
    pub line: Line,
    lease: Duration,
    pub switch: Arc<Switch>,
    pub counts: Counts,
    started: Moment,
    wall: Wall,
    sampler: Sampler,
    comparing: Arc<Semaphore>,
    runtime: Handle,
    me: Weak<Self>,
}

/// Says which answers are compared: one in so many, beginning somewhere.
struct Sampler {
    every: u64,
    begin: u64,
}

impl Sampler {
    fn picks(&self, number: u64) -> bool {
        self.every != 0 && number.wrapping_add(self.begin).is_multiple_of(self.every)
    }
}

/// Told of each logic.
pub(super) trait LogicReport: Send + Sync {
    fn stats(&self) -> LogicStats;
    fn switch(&self) -> &Switch;
}

impl<L: LocalLogic> LogicReport for Answerer<L> {
    fn stats(&self) -> LogicStats {
        self.counts.stats(L::NAME, (L::MAJOR, L::MINOR), self.switch.state())
    }

    fn switch(&self) -> &Switch {
        &self.switch
    }
}

impl<L: LocalLogic> Answerer<L> {
    /// Begins to follow its data, on the runtime that this is called in.
    pub fn start(logic: Arc<L>, switch: Arc<Switch>, feeds: &mut Feeds) -> Arc<Self> {
        let line = feeds.line.clone();
        let every = u64::from(line.settings.shadow_every);
        let switched = Arc::clone(&switch);
        feeds.are_for(move || switched.turn_off());
        Arc::new_cyclic(|me| Self {
            logic,
            data: <L::Data as DataSource>::open(feeds),
            lease: line.settings.lease,
            switch,
            counts: Counts::default(),
            started: line.clock.now(),
            wall: Wall::new(),
            sampler: Sampler { every, begin: rand::random() },
            comparing: Arc::new(Semaphore::new(COMPARISONS)),
            runtime: Handle::current(),
            me: Weak::clone(me),
            line,
        })
    }

    /// The data of a request; nothing if some of it is not there.
    pub fn see(&self, request: &Request<L>, now: Moment) -> Option<Seen<L>> {
        let key = if <L::Data as DataSource>::KEYED { Some(L::Method::key(request).ok()??) } else { None };
        let ask = Ask { key: key.as_ref().map_or(&[], |key| key.as_bytes()), now };
        <L::Data as DataSource>::see(&self.data, &ask)
    }

    /// The time of day, if the logic looks at it.
    pub fn wall_ms(&self, now: Moment) -> i64 {
        if L::USES_TIME { self.wall.ms(now) } else { 0 }
    }

    /// How that stands.
    pub fn standing(seen: &Seen<L>) -> Standing {
        <L::Data as DataSource>::standing(seen)
    }

    /// What the logic says to it.
    pub fn eval(&self, seen: &Seen<L>, wall_ms: i64, request: &Request<L>) -> Verdict<Response<L>> {
        self.logic.eval(<L::Data as Data>::view(seen), wall_ms, request)
    }

    fn reply(&self, request: &Request<L>, demand: &Demand<'_>, stale: bool) -> Option<Reply<Response<L>>> {
        let now = self.line.clock.now();
        match self.decide(request, demand, now) {
            Ok((value, age)) => {
                self.answered(request, now);
                Some(Reply::new(value, Source::Local { logic: L::NAME, age, stale }, None))
            }
            Err(counter) => {
                Counts::add(counter);
                None
            }
        }
    }

    /// The answer and the age of its data, or what counts the reason why there is none.
    #[inline]
    fn decide(
        &self,
        request: &Request<L>,
        demand: &Demand<'_>,
        now: Moment,
    ) -> Result<(Response<L>, Duration), &AtomicU64> {
        let seen = self.see(request, now).ok_or(&self.counts.missing)?;
        let age = demand.met_by(&Self::standing(&seen), now).ok_or(&self.counts.late)?;
        match self.eval(&seen, self.wall_ms(now), request) {
            Verdict::Answer(value) => Ok((value, age)),
            Verdict::Unsure => Err(&self.counts.unsure),
        }
    }

    fn answered(&self, request: &Request<L>, now: Moment) {
        let number = Counts::add(&self.counts.answers);
        if number == 0 {
            let first = now.since(self.started).as_nanos();
            self.counts.first_answer_ns.store(u64::try_from(first).unwrap_or(u64::MAX).max(1), Relaxed);
        }
        if self.sampler.picks(number) {
            self.compare(request);
        }
    }

    /// Has an answer compared with the server's, unless enough are being compared.
    #[cold]
    fn compare(&self, request: &Request<L>) {
        let Some(me) = self.me.upgrade() else { return };
        let Ok(permit) = Arc::clone(&self.comparing).try_acquire_owned() else { return };
        let request = request.clone();
        self.runtime.spawn(async move {
            shadow::compare(&me, &request).await;
            drop(permit);
        });
    }
}

impl<L: LocalLogic> Evaluator<L::Method> for Answerer<L> {
    fn answer(&self, request: &Request<L>, options: &CallOptions) -> Option<Reply<Response<L>>> {
        // A logic does not see metadata, which may mean something to the service.
        if !self.switch.is_on() || options.metadata.is_some() {
            return None;
        }
        self.reply(request, &Demand::of(&options.fresh, self.lease)?, false)
    }

    fn stale(&self, request: &Request<L>, options: &CallOptions) -> Option<Reply<Response<L>>> {
        if !self.switch.is_on() || options.no_local || options.metadata.is_some() {
            return None;
        }
        let reply = self.reply(request, &Demand::after_error(&options.fresh)?, true)?;
        Counts::add(&self.counts.stale);
        Some(reply)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_answer_in_so_many_is_compared() {
        for (every, begin, picked) in [(0, 5, 0), (1, u64::MAX, 3000), (1000, u64::MAX, 3), (1000, 17, 3)] {
            let sampler = Sampler { every, begin };
            let count = (0..3000).filter(|number| sampler.picks(*number)).count();
            assert!(count.abs_diff(picked) <= 1, "{count} of 3000 with every {every}");
        }
    }
}
