//! Transactions of clients that are under way while their user moves: the bucket lock, and reads (OWN-4, OWN-5).

use super::steps::Coordinator;
use super::support::{Db, breaks, cell, holds, soak};
use cell_map::ownership::{Answer, KeyRows, MoveId, UserMove, UserState, answer};
use cell_map::{OwnerEpochs, UserEpoch};
use stateright::{Model, Property};

/// A condition that the model breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    /// Steps of the move do not wait for transactions that hold the bucket shared (OWN-4).
    StepsLockExclusively,
    /// A transaction reads the user's row first and locks the bucket then.
    TheLockComesFirst,
    /// Reads do not look at ownership (OWN-5).
    ReadsCheckOwnership,
    /// Reads look at ownership, then take another snapshot for the data.
    ReadsUseOneSnapshot,
    /// A replica does not compare what it has applied with the client's token.
    ReplicasHeedTheToken,
}

struct Fence {
    broken: Option<Broken>,
    writers: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    dbs: [Db; 2],
    /// A copy of the source's database that lags behind.
    replica: Db,
    writers: Vec<Writer>,
    reader: Reader,
    next: Next,
    acked: u8,
    /// What the client was shown to be stored, and since when its owner is owner.
    token: (UserEpoch, u8),
    /// Something was written where the user was not at home any more.
    wrote_late: bool,
}

/// A client's transaction at a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Writer {
    Idle,
    Locked(usize),
    Checked(usize),
    CheckedAndLocked(usize),
    Done,
}

/// A client's read at a cell, which began when `due` was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Reader {
    Idle,
    Begun { at: usize, due: u8 },
    Checked { at: usize, due: u8 },
    BegunAtReplica { token: (UserEpoch, u8) },
    Returned { due: u8, got: u8 },
    ReturnedByReplica { due: u8, got: u8 },
}

/// The next step of the move; each is one transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Next {
    Claim,
    Prepare,
    Freeze,
    Copy,
    Commit,
    Open,
    Purge,
    Nothing,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Action {
    Begin(usize, usize),
    Go(usize),
    Read(usize),
    ReadReplica,
    GoReader,
    Replicate,
    Move,
}

impl Fence {
    fn breaks(&self, rule: Broken) -> bool {
        self.broken == Some(rule)
    }

    fn step(&self, state: &mut State) -> Option<()> {
        let plan = UserMove::new(MoveId(1), cell(0), cell(1), UserEpoch::ZERO).ok()?;
        let at = match state.next {
            Next::Claim | Next::Freeze | Next::Commit | Next::Purge => 0,
            Next::Prepare | Next::Copy | Next::Open => 1,
            Next::Nothing => return None,
        };
        let holds_shared =
            |writer: &Writer| matches!(writer, Writer::Locked(c) | Writer::CheckedAndLocked(c) if *c == at);
        if !self.breaks(Broken::StepsLockExclusively) && state.writers.iter().any(holds_shared) {
            return None;
        }
        let (coordinator, dbs) = (Coordinator::new(&plan, 1), &mut state.dbs);
        state.next = match state.next {
            Next::Claim => coordinator.claim(dbs).map(|()| Next::Prepare)?,
            Next::Prepare => coordinator.prepare(dbs).map(|()| Next::Freeze)?,
            Next::Freeze => coordinator.freeze(dbs).map(|()| Next::Copy)?,
            Next::Copy => coordinator.import(dbs).map(|()| Next::Commit)?,
            Next::Commit => coordinator.commit(dbs).map(|()| Next::Open)?,
            Next::Open => coordinator.open(dbs).map(|_published| Next::Purge)?,
            Next::Purge => coordinator.purge(dbs, 0).map(|()| Next::Nothing)?,
            Next::Nothing => return None,
        };
        Some(())
    }

    fn write(state: &mut State, who: usize) {
        let served = |at: usize| state.dbs[at].serves(at, OwnerEpochs::ZERO);
        state.writers[who] = match state.writers[who] {
            Writer::Locked(at) if served(at) => Writer::CheckedAndLocked(at),
            Writer::Checked(at) => Writer::CheckedAndLocked(at),
            Writer::Idle | Writer::Locked(_) | Writer::Done => Writer::Done,
            Writer::CheckedAndLocked(at) => {
                let user = state.dbs[at].rows.user.clone();
                let bit = 1 << who;
                state.wrote_late |= user.as_ref().is_some_and(|user| user.state != UserState::Home);
                state.dbs[at].data |= bit;
                state.acked |= bit;
                state.token = (user.map_or(UserEpoch::ZERO, |user| user.epoch), state.dbs[at].data);
                Writer::Done
            }
        };
    }

    fn read(&self, state: &mut State) {
        let served = |at: usize| state.dbs[at].serves(at, OwnerEpochs::ZERO);
        state.reader = match state.reader {
            Reader::Begun { at, due } if self.breaks(Broken::ReadsCheckOwnership) => {
                Reader::Returned { due, got: state.dbs[at].data }
            }
            Reader::Begun { at, .. } if !served(at) => Reader::Idle,
            Reader::Begun { at, due } if self.breaks(Broken::ReadsUseOneSnapshot) => Reader::Checked { at, due },
            Reader::Begun { at, due } | Reader::Checked { at, due } => {
                Reader::Returned { due, got: state.dbs[at].data }
            }
            Reader::BegunAtReplica { token } => {
                if self.replica_answers(&state.replica, token) {
                    Reader::ReturnedByReplica { due: token.1, got: state.replica.data }
                } else {
                    Reader::Idle
                }
            }
            done => done,
        };
    }

    /// A replica is asked with the token's epoch. Within one epoch it has to have applied the token's position (OWN-15),
    /// here: its writes.
    fn replica_answers(&self, replica: &Db, (epoch, writes): (UserEpoch, u8)) -> bool {
        if self.breaks(Broken::ReplicasHeedTheToken) {
            return serves(&replica.rows, UserEpoch::ZERO).is_some();
        }
        serves(&replica.rows, epoch).is_some_and(|mine| mine > epoch || replica.data & writes == writes)
    }
}

fn serves(rows: &KeyRows, epoch: UserEpoch) -> Option<UserEpoch> {
    match answer(&cell(0), rows, OwnerEpochs::new(epoch, OwnerEpochs::ZERO.bucket)) {
        Answer::Serve { epochs, .. } => Some(epochs.user),
        _ => None,
    }
}

impl Model for Fence {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let dbs = [0, 1].map(|me| Db::first(me, 0));
        vec![State {
            replica: dbs[0].clone(),
            dbs,
            writers: vec![Writer::Idle; self.writers],
            reader: Reader::Idle,
            next: Next::Claim,
            acked: 0,
            token: (UserEpoch::ZERO, 0),
            wrote_late: false,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (who, writer) in state.writers.iter().enumerate() {
            match writer {
                Writer::Idle => actions.extend([Action::Begin(who, 0), Action::Begin(who, 1)]),
                Writer::Done => {}
                _ => actions.push(Action::Go(who)),
            }
        }
        match state.reader {
            Reader::Idle => actions.extend([Action::Read(0), Action::Read(1), Action::ReadReplica]),
            Reader::Returned { .. } | Reader::ReturnedByReplica { .. } => {}
            _ => actions.push(Action::GoReader),
        }
        actions.extend([Action::Replicate, Action::Move]);
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Begin(who, at) if self.breaks(Broken::TheLockComesFirst) => {
                let served = state.dbs[at].serves(at, OwnerEpochs::ZERO);
                state.writers[who] = if served { Writer::Checked(at) } else { Writer::Done };
            }
            Action::Begin(who, at) => state.writers[who] = Writer::Locked(at),
            Action::Go(who) => Self::write(&mut state, who),
            Action::Read(at) => state.reader = Reader::Begun { at, due: state.acked },
            Action::ReadReplica => state.reader = Reader::BegunAtReplica { token: state.token },
            Action::GoReader => self.read(&mut state),
            Action::Replicate => state.replica = state.dbs[0].clone(),
            Action::Move => self.step(&mut state)?,
        }
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("no acknowledged write is lost", |_, state: &State| {
                (0..2).all(|at| !state.dbs[at].serves(at, OwnerEpochs::ZERO) || state.dbs[at].data == state.acked)
            }),
            Property::always("nothing is written at the source after the freeze", |_, state: &State| !state.wrote_late),
            Property::always(
                "a read returns all that was acknowledged before it",
                |_, state: &State| !matches!(state.reader, Reader::Returned { due, got } if got & due != due),
            ),
            Property::always(
                "a replica shows a client what he was shown before",
                |_, state: &State| !matches!(state.reader, Reader::ReturnedByReplica { due, got } if got & due != due),
            ),
            Property::sometimes("the user has moved and written", |_, state: &State| {
                state.next == Next::Nothing && state.dbs[1].data == 3
            }),
            Property::sometimes("a replica answers", |_, state: &State| {
                matches!(state.reader, Reader::ReturnedByReplica { due: 1.., .. })
            }),
        ]
    }
}

#[test]
fn own_4_and_own_5_hold_for_transactions_under_way() {
    holds("fence", Fence { broken: None, writers: if soak() { 4 } else { 3 } });
}

fn without(rule: Broken, property: &'static str) {
    breaks(&format!("{rule:?}"), Fence { broken: Some(rule), writers: 2 }, property);
}

#[test]
fn own_4_is_needed_steps_wait_for_transactions() {
    without(Broken::StepsLockExclusively, "nothing is written at the source after the freeze");
    without(Broken::StepsLockExclusively, "no acknowledged write is lost");
}

#[test]
fn own_4_is_needed_the_lock_comes_before_the_users_row() {
    without(Broken::TheLockComesFirst, "no acknowledged write is lost");
}

#[test]
fn own_5_is_needed_reads_check_ownership() {
    without(Broken::ReadsCheckOwnership, "a read returns all that was acknowledged before it");
}

#[test]
fn own_5_is_needed_reads_check_in_the_snapshot_of_the_data() {
    without(Broken::ReadsUseOneSnapshot, "a read returns all that was acknowledged before it");
}

#[test]
fn own_5_is_needed_replicas_heed_the_token() {
    without(Broken::ReplicasHeedTheToken, "a replica shows a client what he was shown before");
}
