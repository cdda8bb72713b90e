//! A call of two transactions whose user moves in between, and a router that sends it on (OWN-8, OWN-9).

use super::steps::Coordinator;
use super::support::{Db, breaks, cell, holds, number};
use cell_map::OwnerEpochs;
use cell_map::ownership::{Answer, MoveId, UserMove, answer};
use stateright::{Model, Property};

/// A condition that the model breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    /// Every `WRONG_CELL` is flagged as unprocessed.
    UnprocessedMeansUncommitted,
    /// The router sends a refused call on whether or not it is flagged.
    SendingOnNeedsTheFlag,
    /// A router that was sent a call by another sends it on.
    TheFirstRouterAloneSendsOn,
}

struct Resend {
    broken: Option<Broken>,
    moves: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    dbs: [Db; 2],
    moves: u8,
    /// The move that is committed but not open yet.
    committed: Option<UserMove>,
    call: Call,
    /// How often each of the call's two transactions was committed.
    done: [u8; 2],
    hops: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Call {
    /// At a cell, before its transaction with this number.
    At {
        cell: usize,
        asked: OwnerEpochs,
        next: usize,
    },
    /// Refused there.
    Refused {
        owner: usize,
        epochs: OwnerEpochs,
        unprocessed: bool,
    },
    Acknowledged,
    Aborted,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Action {
    Transact,
    Route,
    Commit,
    Open,
}

impl Resend {
    fn breaks(&self, rule: Broken) -> bool {
        self.broken == Some(rule)
    }

    fn transact(&self, state: &mut State) -> Option<()> {
        let Call::At { cell: at, asked, next } = state.call else { return None };
        match answer(&cell(at), &state.dbs[at].rows, asked) {
            Answer::Serve { .. } => {
                state.done[next] = state.done[next].saturating_add(1);
                state.call = if next == 1 { Call::Acknowledged } else { Call::At { cell: at, asked, next: 1 } };
            }
            // Waits: the caller's deadline is long.
            Answer::Moving => return None,
            Answer::WrongCell { owner, epochs } => {
                let unprocessed = next == 0 || self.breaks(Broken::UnprocessedMeansUncommitted);
                state.call = Call::Refused { owner: number(&owner), epochs, unprocessed };
            }
        }
        Some(())
    }

    fn route(&self, state: &mut State) -> Option<()> {
        let Call::Refused { owner, epochs, unprocessed } = state.call else { return None };
        let may = unprocessed || self.breaks(Broken::SendingOnNeedsTheFlag);
        // The caller's router forwards once; what the other cell's router does with a further refusal is the third rule.
        let first = state.hops == 0 || self.breaks(Broken::TheFirstRouterAloneSendsOn);
        state.call = if may && first { Call::At { cell: owner, asked: epochs, next: 0 } } else { Call::Aborted };
        if may && first {
            state.hops += 1;
        }
        Some(())
    }

    /// Everything up to the commit at once: the steps between are other models' subject.
    fn commit(&self, state: &mut State) -> Option<()> {
        let (s, base) = (0..2).find_map(|at| state.dbs[at].rows.home_epoch().map(|base| (at, base)))?;
        let plan = UserMove::new(MoveId(state.moves.into()), cell(s), cell(1 - s), base).ok()?;
        let (coordinator, dbs) = (Coordinator::new(&plan, 1), &mut state.dbs);
        coordinator.claim(dbs)?;
        coordinator.prepare(dbs)?;
        coordinator.freeze(dbs)?;
        coordinator.commit(dbs)?;
        state.committed = Some(plan);
        state.moves += 1;
        Some(())
    }

    fn open(&self, state: &mut State) -> Option<()> {
        let plan = state.committed.take()?;
        Coordinator::new(&plan, 1).open(&mut state.dbs)?;
        Some(())
    }
}

impl Model for Resend {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let dbs = [0, 1].map(|me| Db::first(me, 0));
        let call = |at| Call::At { cell: at, asked: OwnerEpochs::ZERO, next: 0 };
        let state = |at| State { dbs: dbs.clone(), moves: 0, committed: None, call: call(at), done: [0; 2], hops: 0 };
        vec![state(0), state(1)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        actions.extend([Action::Transact, Action::Route, Action::Open]);
        if state.committed.is_none() && state.moves < self.moves {
            actions.push(Action::Commit);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Transact => self.transact(&mut state)?,
            Action::Route => self.route(&mut state)?,
            Action::Commit => self.commit(&mut state)?,
            Action::Open => self.open(&mut state)?,
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("nothing is done twice", |_, state: &State| state.done.iter().all(|times| *times <= 1)),
            Property::always("an acknowledged call is done", |_, state: &State| {
                state.call != Call::Acknowledged || state.done == [1, 1]
            }),
            Property::always("a call crosses cells at most once", |_, state: &State| state.hops <= 1),
            Property::sometimes("a call is sent on and succeeds", |_, state: &State| {
                state.hops == 1 && state.call == Call::Acknowledged
            }),
            Property::sometimes("a call that was half done is aborted", |_, state: &State| {
                state.call == Call::Aborted && state.done == [1, 0]
            }),
        ]
    }
}

#[test]
fn own_9_holds_for_a_call_whose_user_moves_under_it() {
    holds("resend", Resend { broken: None, moves: 4 });
}

fn without(rule: Broken, property: &'static str) {
    breaks(&format!("{rule:?}"), Resend { broken: Some(rule), moves: 3 }, property);
}

#[test]
fn own_9_is_needed_only_an_uncommitted_call_is_unprocessed() {
    without(Broken::UnprocessedMeansUncommitted, "nothing is done twice");
}

#[test]
fn own_9_is_needed_only_unprocessed_calls_are_sent_on() {
    without(Broken::SendingOnNeedsTheFlag, "nothing is done twice");
}

#[test]
fn own_8_is_needed_only_the_first_router_sends_on() {
    without(Broken::TheFirstRouterAloneSendsOn, "a call crosses cells at most once");
}
