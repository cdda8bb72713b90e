//! One call's pass through the router as a state machine without I/O: it says what to send where, the relay does so and
//! tells what came of it.

use crate::{
    brain::Brain,
    method::Method,
    world::{Endpoint, Way, World},
};
use cell_map::{CellId, CellIndex, OwnerEpochs};
use mesh_layers::{
    MeshError, Reason,
    error::{self, WrongCell},
    trust::Believed,
};
use mesh_routing::{
    decide::{Decision, Question, Refusal, Surroundings, decide},
    learn::Redirect,
    retry::{Ending, Next, Outcome, Retry},
};
use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

/// Where an attempt goes.
#[derive(Clone, Debug)]
pub struct Place {
    /// By which version of the world.
    pub world: Arc<World>,
    /// The other cell; none for an instance of this one.
    pub cell: Option<CellIndex>,
    /// What the receiver is to believe.
    pub believed: Believed,
}

impl Place {
    /// How to reach it.
    pub fn way<'a>(&'a self, brain: &'a Brain) -> &'a Way {
        self.cell.map_or(brain.worlds.instances(), |cell| self.world.way(cell))
    }

    /// Where a call of this method may be sent.
    #[must_use]
    pub fn endpoints<'a>(&'a self, method: &'a Method) -> &'a [Arc<Endpoint>] {
        self.cell.map_or(&method.instances, |cell| &self.world.way(cell).endpoints)
    }
}

/// What the relay does next.
#[derive(Debug)]
pub enum Step {
    /// Sends the request.
    Send(Place),
    /// Waits, then asks [`Pass::again`].
    Wait {
        /// How long.
        wait: Duration,
        /// The call waits for a move: its bytes count against the parking budget.
        parked: bool,
    },
    /// Passes the answer back as it is.
    Relay,
    /// One of the batch's keys lives elsewhere, and the answer does not tell which: asks for each key alone.
    Divide,
    /// Answers with this error.
    End(MeshError),
}

/// One call's pass.
#[derive(Debug)]
pub struct Pass<'c> {
    brain: &'c Brain,
    method: &'c Method,
    key: Option<&'c [u8]>,
    /// The message names other users too, at home in the same cell as far as is known.
    among_others: bool,
    believed: Believed,
    asked: OwnerEpochs,
    at: Option<CellId>,
    owner: Option<WrongCell>,
    /// Until when the call waits for an instance of this cell.
    waits_until: Option<Instant>,
    retry: Retry,
}

impl<'c> Pass<'c> {
    /// A call of a method for a key, as a peer (or nobody) described it.
    #[must_use]
    pub fn new(
        brain: &'c Brain,
        method: &'c Method,
        key: Option<&'c [u8]>,
        among_others: bool,
        believed: Believed,
        message_bytes: usize,
        deadline: Instant,
    ) -> Self {
        let hops = u8::try_from(believed.hops).unwrap_or(u8::MAX);
        let retry = Retry::new(hops, message_bytes, method.is_repeatable(), deadline);
        Self {
            brain,
            method,
            key,
            among_others,
            believed,
            asked: believed.asked,
            at: None,
            owner: None,
            waits_until: None,
            retry,
        }
    }

    /// The same call, which waits until then for an instance of this cell, if none is there.
    #[must_use]
    pub const fn waiting_until(mut self, until: Option<Instant>) -> Self {
        self.waits_until = until;
        self
    }

    /// Whether the message may have to be sent again.
    #[must_use]
    pub fn keeps_message(&self) -> bool {
        self.retry.replayable()
    }

    /// Decides by what is known now.
    #[must_use]
    pub fn again(&mut self) -> Step {
        let Some(world) = self.brain.worlds.load() else {
            return Step::End(MeshError::new(Reason::Unavailable, "there is no cell map yet"));
        };
        let redirect = self.key.and_then(|key| self.brain.redirect(key));
        let question = Question {
            scope: self.method.policy.scope,
            key: self.key,
            hops: self.believed.hops,
            redirect: redirect.as_ref(),
        };
        let reachable = |cell: CellIndex| match Some(cell) == world.here {
            true => self.method.is_live(),
            false => world.way(cell).is_live(),
        };
        let around = Surroundings { map: &world.map, here: world.here, global: world.global, reachable: &reachable };
        let (cell, asked) = match decide(question, around) {
            Decision::Local { .. } if self.is_unhosted() => return Step::End(self.unhosted()),
            Decision::Local { asked } => (None, asked),
            Decision::Cell { cell, asked } => (Some(cell), asked),
            Decision::Refuse(refusal) => return Step::End(self.refuse(refusal)),
        };
        if asked.newer_than(self.asked) {
            self.asked = asked;
        }
        let hops = self.believed.hops + u32::from(cell.is_some());
        let map_epoch = Some(world.map.epoch());
        let place = Place { cell, believed: Believed { hops, asked: self.asked, map_epoch }, world };
        if self.at.as_ref() != Some(&place.way(self.brain).id) {
            self.at = Some(place.way(self.brain).id.clone());
        }
        Step::Send(place)
    }

    /// What follows an attempt. `chance` is any random number.
    #[must_use]
    pub fn after(&mut self, outcome: Outcome, now: Instant, chance: u64) -> Step {
        let here = self.brain.worlds.here();
        let at = self.at.as_ref().unwrap_or(here);
        self.retry.wait_until(self.waits_until.filter(|_| at == here));
        let next = self.retry.next(&outcome, Some(at), self.asked, now, chance);
        let redirected = matches!(outcome, Outcome::WrongCell { .. });
        if let Outcome::WrongCell { owner, epochs, .. } = outcome {
            self.believe(owner, epochs);
        }
        match next {
            Next::Relay => Step::Relay,
            Next::Resend(_) if redirected && self.among_others => self.divide(),
            Next::Resend(Duration::ZERO) => self.again(),
            Next::Resend(wait) => Step::Wait { wait, parked: false },
            Next::Park(wait) => Step::Wait { wait, parked: true },
            Next::End(ending) => Step::End(self.ended(ending)),
        }
    }

    /// Keeps what a redirect says, be it followed or not, unless OWN-8 forbids to believe it. Only a call for one key
    /// tells whose owner is named.
    fn believe(&mut self, owner: CellId, epochs: OwnerEpochs) {
        if self.at.as_ref() == Some(&owner) || self.asked.newer_than(epochs) {
            return;
        }
        if let Some(key) = self.key.filter(|_| !self.among_others) {
            self.brain.learn(key, Redirect { cell: owner.clone(), epochs });
        }
        self.owner = Some(WrongCell { owner, epochs, map_epoch: None });
    }

    fn divide(&self) -> Step {
        match self.method.policy.batch_of {
            Some(_) => Step::Divide,
            None => Step::End(self.ended(Ending::Moved)),
        }
    }

    /// Whether this cell has instances, but none of them hosts the method: nothing that passes.
    fn is_unhosted(&self) -> bool {
        self.method.instances.is_empty() && !self.brain.worlds.instances().endpoints.is_empty()
    }

    fn unhosted(&self) -> MeshError {
        let (cell, service) = (self.brain.worlds.here(), self.method.service());
        let text = format!("no instance of cell \"{cell}\" hosts service \"{service}\"");
        MeshError::new(Reason::MethodUnknown, text).info("cell", cell).info("service", service)
    }

    fn refuse(&self, refusal: Refusal) -> MeshError {
        match refusal {
            Refusal::NoKey => MeshError::bad_request("the call names no user"),
            Refusal::TooManyHops => {
                self.brain.events.hops_refused.fetch_add(1, Relaxed);
                MeshError::too_many_hops(self.believed.hops)
            }
            Refusal::UnknownOwner => match self.key.and_then(|key| self.brain.redirect(key)) {
                Some(redirect) => MeshError::cell_unreachable(&redirect.cell),
                None => MeshError::no_home("the user's home is a cell that the map does not have"),
            },
        }
    }

    fn ended(&self, ending: Ending) -> MeshError {
        let at = self.at.as_ref().unwrap_or_else(|| self.brain.worlds.here());
        match ending {
            Ending::Unreachable if at == self.brain.worlds.here() && !self.method.is_live() => {
                let service = self.method.service();
                let text = format!("no instance of cell \"{at}\" with service \"{service}\" is connected");
                MeshError::new(Reason::CellUnreachable, text).info("cell", at).info("service", service)
            }
            Ending::Unreachable => MeshError::cell_unreachable(at),
            Ending::Lost => MeshError::cell_unreachable(at).info("processed", "unknown"),
            Ending::Aborted => MeshError::moved(self.owner.as_ref()).with_code(tonic::Code::Aborted),
            Ending::Moved => MeshError::moved(self.owner.as_ref()),
            Ending::Deadline => MeshError::deadline_exceeded(),
        }
    }
}

/// What the head of a response says. Only a trailers-only answer, one whose head has the status, speaks of ownership.
#[must_use]
pub fn outcome(head: &http::HeaderMap) -> Outcome {
    match error::Redirect::decode(head) {
        None => Outcome::Answer,
        Some(error::Redirect::WrongCell { to, unprocessed }) => {
            Outcome::WrongCell { owner: to.owner, epochs: to.epochs, unprocessed }
        }
        Some(error::Redirect::Moving { retry_after, unprocessed }) => {
            Outcome::Moving { retry_after: Some(retry_after), unprocessed }
        }
    }
}
