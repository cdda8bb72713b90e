//! One user moves to and fro between two cells while clients write, under coordinators that come late (OWN-11, OWN-12).

use super::steps::Coordinator;
use super::support::{Db, End, breaks, cell, follow, holds, number as cell_number, soak};
use cell_map::OwnerEpochs;
use cell_map::ownership::{
    Committed, KeyRows, MoveId, MoveRefused, Outcome, Progress, Step, UserMove, UserRow, UserState, answer,
};
use stateright::{Model, Property};

/// A condition that the model breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    /// Whoever wants to freezes.
    FreezeNeedsTheClaim,
    /// Any attempt commits what another has frozen.
    CommitNeedsTheAttempt,
    /// An abort gives the user back at the epoch he had.
    AbortUsesUpTheEpoch,
    /// The target is opened without reading the source's row.
    OpenNeedsTheCommit,
    /// A new attempt goes to the target without asking the source.
    TakeoverReadsTheSource,
    /// Rows are imported for any attempt.
    ImportNeedsTheAttempt,
    /// An import of unknown end is left behind, and the attempt goes on.
    UnknownImportEndsTheAttempt,
    /// The target is prepared over whatever row it has.
    PrepareNeedsAnOlderRow,
    /// After an abort, a target that was not prepared is not told.
    UnpreparedTargetIsTold,
    /// A target is told of an abort that was not read at the source.
    EndNeedsTheAbort,
    /// What is left behind is purged without looking.
    PurgeChecksTheRow,
    /// A cell does not care what the request knows (OWN-8).
    AnswersHeedTheRequest,
}

struct Moving {
    broken: Option<Broken>,
    moves: usize,
    attempts: usize,
    writes: u8,
}

impl Moving {
    fn breaks(&self, rule: Broken) -> bool {
        self.broken == Some(rule)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    dbs: [Db; 2],
    /// Writes that clients were told are stored.
    acked: u8,
    written: u8,
    plans: Vec<UserMove>,
    attempts: Vec<Attempt>,
    /// Moves whose target was told of the abort.
    ended: u8,
}

/// One attempt of a coordinator.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Attempt {
    plan: usize,
    number: u32,
    next: Do,
    /// What it read last at the source.
    copy: u8,
    /// What its first import request carries.
    first_copy: u8,
    /// Requests it has sent so far, a bit each.
    sent: u16,
}

/// A coordinator's steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Do {
    Claim,
    Prepare,
    Read,
    Import,
    Freeze,
    ReadLast,
    ImportLast,
    Compare,
    Commit,
    Open,
    PurgeSource,
    Abort,
    EndImport,
    PurgeTarget,
    Stop,
}

const REPEATABLE: [Do; 8] =
    [Do::Claim, Do::Prepare, Do::Freeze, Do::Commit, Do::PurgeSource, Do::Abort, Do::EndImport, Do::PurgeTarget];

#[derive(Clone, Debug, PartialEq, Eq)]
enum Action {
    Write(usize),
    Plan,
    Attempt(usize),
    Step(usize, Do),
    GiveUp(usize),
    /// A request sent before is carried out once more; its sender does not hear of it.
    Repeat(usize, Do),
}

impl Moving {
    /// Carries out one step of an attempt; what comes next, or `None` if it is refused.
    fn step(&self, state: &mut State, who: usize, what: Do) -> Option<Do> {
        let Attempt { plan, number, copy, first_copy, next, .. } = state.attempts[who].clone();
        let copy = if what == Do::Import && next != Do::Import { first_copy } else { copy };
        let index = plan;
        let plan = state.plans[index].clone();
        let (source, target) = (plan.source(), plan.target());
        let (s, t) = (cell_number(source), cell_number(target));
        let rows = state.dbs.clone().map(|db| db.rows);
        let coordinator = Coordinator::new(&plan, number);
        match what {
            Do::Claim if number == 1 => coordinator.claim(&mut state.dbs).map(|()| Do::Prepare),
            Do::Claim if self.breaks(Broken::TakeoverReadsTheSource) => Some(Do::Prepare),
            Do::Claim => Some(match coordinator.takeover(&mut state.dbs)? {
                Progress::Claimed | Progress::Frozen => Do::Prepare,
                Progress::Committed(_) => Do::Open,
                Progress::Aborted(_) => Do::EndImport,
            }),
            Do::Prepare => {
                if let Step::Write(row) = self.prepare(&plan, &rows[t], number).ok()? {
                    state.dbs[t].put(Some(row));
                    state.dbs[t].data = 0;
                }
                Some(Do::Read)
            }
            Do::Read | Do::ReadLast => {
                state.attempts[who].copy = state.dbs[s].data;
                Some(if what == Do::Read { Do::Import } else { Do::ImportLast })
            }
            Do::Import | Do::ImportLast => {
                let allowed = plan.check_import(target, &rows[t], number);
                let importing = rows[t].user.as_ref().is_some_and(is_importing);
                if allowed.is_err() && !(self.breaks(Broken::ImportNeedsTheAttempt) && importing) {
                    return None;
                }
                state.dbs[t].data = copy;
                Some(if what == Do::Import { Do::Freeze } else { Do::Compare })
            }
            Do::Freeze => {
                state.dbs[s].put(self.freeze(&plan, &rows[s], number).ok()?.written());
                Some(Do::ReadLast)
            }
            Do::Compare => (state.dbs[s].data == state.dbs[t].data).then_some(Do::Commit),
            Do::Commit => {
                let held = rows[s].user.as_ref().and_then(|user| user.claim).map(|claim| claim.attempt);
                let loose = self.breaks(Broken::CommitNeedsTheAttempt);
                let attempt = held.filter(|_| loose).unwrap_or(number);
                let committed = Coordinator::new(&plan, attempt).commit(&mut state.dbs).is_some();
                (committed || self.breaks(Broken::OpenNeedsTheCommit)).then_some(Do::Open)
            }
            Do::Open => {
                let proof = match plan.outcome(source, &rows[s]).ok()? {
                    Outcome::Committed(proof) => proof,
                    _ if self.breaks(Broken::OpenNeedsTheCommit) => Committed::from_journal(plan.clone()),
                    _ => return None,
                };
                coordinator.open_with(&mut state.dbs, &proof).map(|_published| Do::PurgeSource)
            }
            Do::Abort => {
                state.dbs[s].put(self.abort(&plan, &rows[s], number).ok()?.written());
                Some(Do::EndImport)
            }
            Do::EndImport => {
                if self.breaks(Broken::EndNeedsTheAbort) && rows[t].user.as_ref().is_some_and(is_importing) {
                    let moved = UserState::MovedTo { cell: source.clone() };
                    state.dbs[t].put(Some(UserRow { state: moved, epoch: plan.next(), claim: None }));
                    return Some(Do::PurgeTarget);
                }
                let mut told = state.dbs.clone();
                coordinator.end_import(&mut told)?;
                let unprepared = !rows[t].user.as_ref().is_some_and(is_importing);
                if !(unprepared && self.breaks(Broken::UnpreparedTargetIsTold)) {
                    state.dbs = told;
                }
                state.ended |= 1 << index;
                Some(Do::PurgeTarget)
            }
            Do::PurgeSource | Do::PurgeTarget => {
                let at = if what == Do::PurgeSource { s } else { t };
                if coordinator.purge(&mut state.dbs, at).is_none() && self.breaks(Broken::PurgeChecksTheRow) {
                    state.dbs[at].data = 0;
                }
                Some(Do::Stop)
            }
            Do::Stop => None,
        }
    }

    fn prepare(&self, plan: &UserMove, rows: &KeyRows, attempt: u32) -> Result<Step<UserRow>, MoveRefused> {
        if self.breaks(Broken::PrepareNeedsAnOlderRow) {
            let empty = KeyRows { user: None, away: None, ..rows.clone() };
            let row = plan.prepare(plan.target(), &empty, attempt)?.written();
            return Ok(row.map_or(Step::Unchanged, |prepare| Step::Write(prepare.user)));
        }
        Ok(match plan.prepare(plan.target(), rows, attempt)? {
            Step::Write(prepare) => Step::Write(prepare.user),
            Step::Unchanged => Step::Unchanged,
        })
    }

    fn freeze(&self, plan: &UserMove, rows: &KeyRows, attempt: u32) -> Result<Step<UserRow>, MoveRefused> {
        match &rows.user {
            Some(user) if self.breaks(Broken::FreezeNeedsTheClaim) && user.state == UserState::Home => {
                let claimed = KeyRows { user: Some(UserRow { claim: None, ..user.clone() }), ..rows.clone() };
                let frozen = plan.claim(plan.source(), &claimed, attempt)?.written();
                Ok(frozen.map_or(Step::Unchanged, |row| Step::Write(UserRow { state: UserState::Frozen, ..row })))
            }
            _ => plan.freeze(plan.source(), rows, attempt),
        }
    }

    fn abort(&self, plan: &UserMove, rows: &KeyRows, attempt: u32) -> Result<Step<UserRow>, MoveRefused> {
        let step = plan.abort(plan.source(), rows, attempt)?;
        Ok(match step {
            Step::Write(row) if self.breaks(Broken::AbortUsesUpTheEpoch) => {
                Step::Write(UserRow { epoch: plan.base(), ..row })
            }
            step => step,
        })
    }
}

fn is_importing(user: &UserRow) -> bool {
    matches!(user.state, UserState::Importing { .. })
}

impl Model for Moving {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let dbs = [Db::first(0, 0), Db::first(1, 0)];
        vec![State { dbs, acked: 0, written: 0, plans: Vec::new(), attempts: Vec::new(), ended: 0 }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.written < self.writes {
            let serving = (0..2).filter(|at| state.dbs[*at].serves(*at, OwnerEpochs::ZERO));
            actions.extend(serving.map(Action::Write));
        }
        if state.plans.len() < self.moves {
            actions.push(Action::Plan);
        }
        if state.attempts.len() < self.attempts {
            actions.extend((0..state.plans.len()).map(Action::Attempt));
        }
        for (who, attempt) in state.attempts.iter().enumerate() {
            if attempt.next != Do::Stop {
                actions.push(Action::Step(who, attempt.next));
            }
            if attempt.next > Do::Claim && attempt.next <= Do::Commit {
                actions.push(Action::GiveUp(who));
            }
            let imports = [Do::Import].into_iter().filter(|_| self.breaks(Broken::UnknownImportEndsTheAttempt));
            let sent = REPEATABLE.into_iter().chain(imports).filter(|what| attempt.sent & 1 << *what as u16 != 0);
            actions.extend(sent.map(|what| Action::Repeat(who, what)));
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Write(at) => {
                state.dbs[at].data |= 1 << state.written;
                state.acked |= 1 << state.written;
                state.written += 1;
            }
            Action::Plan => {
                let home = |at: &usize| state.dbs[*at].rows.home_epoch().map(|base| (*at, base));
                let (source, base) = (0..2).find_map(|at| home(&at))?;
                let id = MoveId(state.plans.len() as u128);
                state.plans.push(UserMove::new(id, cell(source), cell(1 - source), base).ok()?);
            }
            Action::Attempt(plan) => {
                let before = state.attempts.iter().filter(|attempt| attempt.plan == plan).count();
                let number = before as u32 + 1;
                state.attempts.push(Attempt { plan, number, next: Do::Claim, copy: 0, first_copy: 0, sent: 0 });
            }
            Action::Step(who, what) => {
                let next = self.step(&mut state, who, what).unwrap_or(Do::Stop);
                let attempt = &mut state.attempts[who];
                if what == Do::Import && self.breaks(Broken::UnknownImportEndsTheAttempt) {
                    attempt.first_copy = attempt.copy;
                }
                attempt.sent |= 1 << what as u16;
                attempt.next = next;
            }
            Action::GiveUp(who) => state.attempts[who].next = Do::Abort,
            Action::Repeat(who, what) => {
                self.step(&mut state, who, what)?;
            }
        }
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("at most one home", |_, state: &State| {
                state.dbs.iter().filter(|db| db.rows.home_epoch().is_some()).count() <= 1
            }),
            Property::always("no acknowledged write is lost", |_, state: &State| {
                let serving = |(at, db): &(usize, &Db)| db.serves(*at, OwnerEpochs::ZERO);
                state.dbs.iter().enumerate().filter(serving).all(|(_, db)| db.data == state.acked)
            }),
            Property::always("an ended move changes nothing", |_, state: &State| {
                let claims = |move_id| {
                    let held = |db: &Db| db.rows.user.as_ref().and_then(|user| user.claim);
                    state.dbs.iter().any(|db| held(db).is_some_and(|claim| claim.move_id == move_id))
                };
                (0..state.plans.len()).all(|plan| state.ended & 1 << plan == 0 || !claims(MoveId(plan as u128)))
            }),
            Property::always("redirects rise and end", |model, state: &State| {
                let blind = model.breaks(Broken::AnswersHeedTheRequest);
                (0..2).all(|from| {
                    let end = follow(&state.dbs, from, OwnerEpochs::ZERO, |me, rows, asked| {
                        answer(me, rows, if blind { OwnerEpochs::ZERO } else { asked })
                    });
                    matches!(end, End::Served(_) | End::Moving)
                })
            }),
            Property::always("a new attempt finishes every move", |_, state: &State| finish(state.clone())),
        ]
    }
}

/// Lets a new attempt finish each move, and tells whether one home with all that was acknowledged remains.
fn finish(mut state: State) -> bool {
    // In a broken world there may be a move that has to end before another can.
    for _ in 0..state.plans.len() {
        for plan in state.plans.clone() {
            let _refused = finish_one(&mut state, &plan);
        }
    }
    let homes: Vec<&Db> = state.dbs.iter().filter(|db| db.rows.home_epoch().is_some()).collect();
    let all_reach_it = (0..2).all(|from| matches!(follow(&state.dbs, from, OwnerEpochs::ZERO, answer), End::Served(_)));
    matches!(homes[..], [home] if home.data == state.acked) && all_reach_it
}

fn finish_one(state: &mut State, plan: &UserMove) -> Option<()> {
    const LATEST: u32 = 100;
    let (coordinator, dbs) = (Coordinator::new(plan, LATEST), &mut state.dbs);
    if matches!(coordinator.takeover(dbs)?, Progress::Claimed | Progress::Frozen) {
        coordinator.abort(dbs)?;
    }
    coordinator.open(dbs).map(drop).or_else(|| coordinator.end_import(dbs))
}

#[test]
fn own_11_and_own_12_hold_for_a_user_who_moves_to_and_fro() {
    holds("user_move", Moving { broken: None, moves: 2, attempts: 2, writes: 2 });
    if soak() {
        holds("user_move, three attempts", Moving { broken: None, moves: 1, attempts: 3, writes: 1 });
        holds("user_move, to and fro", Moving { broken: None, moves: 3, attempts: 2, writes: 2 });
    }
}

const LOST: &str = "no acknowledged write is lost";
const UNFINISHED: &str = "a new attempt finishes every move";
const HAUNTED: &str = "an ended move changes nothing";

fn one_move(rule: Broken, property: &'static str) {
    breaks(&format!("{rule:?}"), Moving { broken: Some(rule), moves: 1, attempts: 2, writes: 1 }, property);
}

fn two_moves(rule: Broken, property: &'static str) {
    breaks(&format!("{rule:?}"), Moving { broken: Some(rule), moves: 2, attempts: 2, writes: 1 }, property);
}

#[test]
fn own_11_is_needed_freeze_requires_the_claim() {
    one_move(Broken::FreezeNeedsTheClaim, LOST);
}

#[test]
fn own_11_is_needed_commit_is_conditional_on_the_attempt() {
    one_move(Broken::CommitNeedsTheAttempt, LOST);
}

#[test]
fn own_11_is_needed_an_abort_uses_up_the_epoch() {
    one_move(Broken::AbortUsesUpTheEpoch, LOST);
}

#[test]
fn own_11_is_needed_the_target_opens_only_after_reading_the_commit() {
    one_move(Broken::OpenNeedsTheCommit, "at most one home");
}

#[test]
fn own_11_is_needed_a_new_attempt_raises_the_sources_row_first() {
    one_move(Broken::TakeoverReadsTheSource, LOST);
}

#[test]
fn own_11_is_needed_import_is_conditional_on_the_attempt() {
    one_move(Broken::ImportNeedsTheAttempt, LOST);
}

#[test]
fn own_11_is_needed_an_import_of_unknown_end_ends_the_attempt() {
    one_move(Broken::UnknownImportEndsTheAttempt, LOST);
}

#[test]
fn own_11_is_needed_only_an_older_row_is_prepared_over() {
    two_moves(Broken::PrepareNeedsAnOlderRow, LOST);
}

#[test]
fn own_11_is_needed_even_an_unprepared_target_learns_of_the_abort() {
    one_move(Broken::UnpreparedTargetIsTold, HAUNTED);
}

#[test]
fn own_11_is_needed_nobody_touches_the_target_before_reading_the_abort() {
    two_moves(Broken::EndNeedsTheAbort, UNFINISHED);
}

#[test]
fn own_12_is_needed_purge_looks_at_the_row() {
    two_moves(Broken::PurgeChecksTheRow, LOST);
}

#[test]
fn own_8_is_needed_answers_heed_what_the_request_knows() {
    one_move(Broken::AnswersHeedTheRequest, "redirects rise and end");
}
