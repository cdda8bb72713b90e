//! A user's moves among three cells while his bucket moves too, with publications in flight (OWN-3, OWN-14, OWN-19, epochs).

use super::steps::Coordinator;
use super::support::{Db, End, breaks, cell, follow, holds, number, soak};
use cell_map::ownership::{
    Answer, AwayStep, BucketMove, BucketProgress, BucketState, Flipped, KeyRows, MapStep, MoveId, Publication,
    Residents, Step, UserMove, UserRow, UserState, answer,
};
use cell_map::{BucketEpoch, CellId, OwnerEpochs, UserEpoch};
use stateright::{Model, Property};

/// A condition that the model breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    /// Neither the commit's `away` row nor, after a flip, what the source's user row says, counts (OWN-3).
    TheSourceRemembersWhoLeft,
    /// A user who left the source when it was not the bucket's home is not copied after the flip.
    LeaversAreCopied,
    /// A user who came back to the source since the flip is not copied.
    ReturnersAreCopied,
    /// No `away` row is written from publications.
    PublicationsReachTheBucketsHome,
    /// A publication overwrites a later one.
    AwayOnlyIfHigher,
    /// A publication is delivered where the bucket was at home once.
    AwayFollowsTheBucket,
    /// The map learns before the bucket's home does.
    AwayComesBeforeThePin,
    /// The flip does not count user rows (OWN-14).
    TheFlipCountsRows,
    /// The flip does not count users without a row.
    TheFlipCountsRowlessData,
    /// The target opens before `away` rows are copied.
    AwayIsCopiedBeforeOpening,
    /// The flip's count is taken before, and users without data are served in a moving bucket.
    AMovingBucketTakesNobodyIn,
    /// Requests and answers carry no bucket_epoch.
    BucketEpochsAreCompared,
    /// The pair of epochs is compared as such for users who moved, too.
    BucketEpochsOfMoversAreIgnored,
    /// The attempt publishes after it opened, if it still lives (OWN-19).
    PublishingIsPartOfOpening,
    /// The map takes any publication.
    TheMapTakesOnlyHigher,
    /// A dropped pin is forgotten altogether.
    ADroppedPinLeavesATombstone,
    /// A pin is dropped although the map's bucket is elsewhere.
    DroppingNeedsTheMapsCell,
    /// A bucket's new home is put into the map without asking it.
    TheMapAsksTheBucketsHome,
}

struct Cells {
    broken: Option<Broken>,
    user_moves: u8,
    bucket_moves: u8,
    /// Attempts at a bucket's move beyond its first.
    takeovers: u8,
    /// Moves given up although nothing was refused.
    aborts: u8,
    writes: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    dbs: [Db; 3],
    written: u8,
    map: Map,
    publications: Vec<InFlight>,
    moves: Vec<(UserMove, UserStage)>,
    bucket_moves: Vec<BucketRun>,
    user_moves_begun: u8,
    bucket_moves_begun: u8,
    takeovers: u8,
    aborts: u8,
    /// Who was left in the bucket when somebody last looked.
    counted: Option<Counted>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Map {
    bucket: usize,
    pin: Option<(Option<usize>, UserEpoch)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct InFlight {
    publication: Publication,
    /// Where the bucket's home is looked for, and by which claim; `None` once it was found.
    away: Option<(usize, BucketEpoch)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum UserStage {
    Claimed,
    Prepared,
    Committed,
    Refused,
    Aborted,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct BucketRun {
    plan: BucketMove,
    id: u128,
    attempt: u32,
    stage: BucketStage,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum BucketStage {
    Moving,
    Flipped(Flipped),
    Copied(Flipped),
    Opened(Flipped),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Counted {
    rows: u64,
    rowless_with_data: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Action {
    Write(usize),
    BeginMove {
        source: usize,
        target: usize,
    },
    StepMove(usize),
    AbortMove(usize),
    /// Opens, and the attempt dies before it publishes.
    OpenInSilence(usize),
    BeginBucketMove {
        target: usize,
    },
    TakeOverBucketMove(usize),
    Count(usize),
    StepBucketMove(usize),
    Deliver(usize),
}

impl Cells {
    fn breaks(&self, rule: Broken) -> bool {
        self.broken == Some(rule)
    }

    fn ask(&self, me: &CellId, rows: &KeyRows, asked: OwnerEpochs) -> Answer {
        let claim = match answer(me, rows, OwnerEpochs::ZERO) {
            Answer::Serve { epochs, .. } | Answer::WrongCell { epochs, .. } => Some(epochs),
            Answer::Moving => None,
        };
        match claim {
            Some(claim) if self.breaks(Broken::BucketEpochsOfMoversAreIgnored) && asked > claim => Answer::Moving,
            _ if self.breaks(Broken::BucketEpochsAreCompared) => {
                answer(me, rows, OwnerEpochs::new(asked.user, BucketEpoch::ZERO))
            }
            _ => answer(me, rows, asked),
        }
    }

    /// The next step of a user's move; its stage after that, or `None` when it is over.
    fn step_move(&self, state: &mut State, plan: &UserMove, stage: UserStage) -> Option<Option<UserStage>> {
        let (s, t) = (number(plan.source()), number(plan.target()));
        let (coordinator, dbs) = (Coordinator::new(plan, 1), &mut state.dbs);
        Some(match stage {
            UserStage::Claimed => {
                let prepared = coordinator.prepare(dbs).is_some();
                Some(if prepared { UserStage::Prepared } else { UserStage::Refused })
            }
            UserStage::Prepared => {
                coordinator.freeze(dbs)?;
                coordinator.import(dbs)?;
                let away = dbs[s].rows.away.clone();
                coordinator.commit(dbs)?;
                if self.breaks(Broken::TheSourceRemembersWhoLeft) {
                    dbs[s].rows.away = away;
                }
                Some(UserStage::Committed)
            }
            UserStage::Committed => {
                let publication = coordinator.open(dbs)??;
                let away = (!self.breaks(Broken::AwayComesBeforeThePin)).then_some((t, BucketEpoch::ZERO));
                coordinator.purge(dbs, s)?;
                state.publications.push(InFlight { publication, away });
                None
            }
            UserStage::Refused => {
                coordinator.abort(dbs)?;
                Some(UserStage::Aborted)
            }
            UserStage::Aborted => {
                // Another move may hold the target's row; whoever ends that one tells him.
                coordinator.end_import(dbs)?;
                None
            }
        })
    }

    fn deliver(&self, state: &mut State, which: usize) -> Option<()> {
        let InFlight { publication, away } = state.publications[which].clone();
        let Some((at, asked)) = away else {
            self.tell_map(&mut state.map, &publication);
            state.publications.remove(which);
            return Some(());
        };
        let mut rows = state.dbs[at].rows.clone();
        if self.breaks(Broken::AwayOnlyIfHigher) {
            rows.away = None;
        }
        if self.breaks(Broken::AwayFollowsTheBucket) {
            rows.bucket.state = BucketState::Home;
        }
        match publication.away_step(&cell(at), &rows, asked) {
            AwayStep::Here(step) => {
                if !self.breaks(Broken::PublicationsReachTheBucketsHome) {
                    state.dbs[at].put_away(step.written());
                }
                state.publications[which].away = None;
            }
            AwayStep::Follow { to, epoch } => state.publications[which].away = Some((number(&to), epoch)),
            AwayStep::Wait => return None,
        }
        Some(())
    }

    fn tell_map(&self, map: &mut Map, publication: &Publication) {
        let mut bucket = cell(map.bucket);
        if self.breaks(Broken::DroppingNeedsTheMapsCell) {
            bucket = publication.cell.clone();
        }
        let known = map.pin.map(|(_, epoch)| epoch).filter(|_| !self.breaks(Broken::TheMapTakesOnlyHigher));
        match publication.map_step(known, &bucket) {
            MapStep::Stale => {}
            MapStep::Pin => map.pin = Some((Some(number(&publication.cell)), publication.epoch)),
            MapStep::Drop if self.breaks(Broken::ADroppedPinLeavesATombstone) => map.pin = None,
            MapStep::Drop => map.pin = Some((None, publication.epoch)),
        }
    }

    fn count(&self, db: &Db) -> Counted {
        let user = db.rows.user.as_ref();
        let lives = user.is_some_and(|user| !matches!(user.state, UserState::MovedTo { .. }));
        let rows = lives && !self.breaks(Broken::TheFlipCountsRows);
        let rowless = user.is_none() && db.data != 0 && !self.breaks(Broken::TheFlipCountsRowlessData);
        Counted { rows: rows.into(), rowless_with_data: rowless.into() }
    }

    /// The next step of a bucket's move; its stage after that, or `None` when it is over.
    fn step_bucket(&self, state: &mut State, run: &BucketRun) -> Result<Option<BucketStage>, ()> {
        let (source, target) = (run.plan.source(), run.plan.target());
        let (s, t) = (number(source), number(target));
        Ok(Some(match run.stage.clone() {
            BucketStage::Moving => {
                let now = self.count(&state.dbs[s]);
                let early = self.breaks(Broken::AMovingBucketTakesNobodyIn);
                let Counted { rows, rowless_with_data } = if early { state.counted.ok_or(())? } else { now };
                let left = Residents { rows, rowless_with_data };
                let (step, flipped) =
                    run.plan.flip(source, &state.dbs[s].rows.bucket, run.attempt, left).map_err(drop)?;
                if let Step::Write(row) = step {
                    state.dbs[s].rows.bucket = row;
                }
                BucketStage::Flipped(flipped)
            }
            BucketStage::Flipped(flipped) => {
                let mut rows = state.dbs[s].rows.clone();
                let left = |user: &UserRow| matches!(user.state, UserState::MovedTo { .. });
                let forgets_leavers = [Broken::LeaversAreCopied, Broken::TheSourceRemembersWhoLeft];
                if forgets_leavers.iter().any(|rule| self.breaks(*rule)) {
                    rows.user = rows.user.filter(|user| !left(user));
                }
                if self.breaks(Broken::ReturnersAreCopied) {
                    rows.user = rows.user.filter(left);
                }
                if let Some(known) = rows.whereabouts(source) {
                    let step = flipped.copy_away(target, &state.dbs[t].rows, known).map_err(drop)?;
                    if !self.breaks(Broken::AwayIsCopiedBeforeOpening) {
                        state.dbs[t].put_away(step.written());
                    }
                }
                BucketStage::Copied(flipped)
            }
            BucketStage::Copied(flipped) => {
                if let Step::Write(row) = flipped.open(target, &state.dbs[t].rows.bucket).map_err(drop)? {
                    state.dbs[t].rows.bucket = row;
                }
                BucketStage::Opened(flipped)
            }
            BucketStage::Opened(flipped) => {
                let blindly = self.breaks(Broken::TheMapAsksTheBucketsHome);
                if blindly || flipped.check_map(target, &state.dbs[t].rows.bucket).is_ok() {
                    state.map.bucket = t;
                }
                return Ok(None);
            }
        }))
    }
}

impl Model for Cells {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            dbs: [0, 1, 2].map(|me| Db::first(me, 0)),
            written: 0,
            map: Map { bucket: 0, pin: None },
            publications: Vec::new(),
            moves: Vec::new(),
            bucket_moves: Vec::new(),
            user_moves_begun: 0,
            bucket_moves_begun: 0,
            takeovers: 0,
            aborts: 0,
            counted: None,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let moving_to = |db: &Db| match &db.rows.bucket.state {
            BucketState::Moving { to, .. } => Some(number(to)),
            _ => None,
        };
        for (at, db) in state.dbs.iter().enumerate() {
            let served = match answer(&cell(at), &db.rows, OwnerEpochs::ZERO) {
                Answer::Serve { only_with_data, .. } => {
                    !only_with_data || db.data != 0 || self.breaks(Broken::AMovingBucketTakesNobodyIn)
                }
                _ => false,
            };
            if served && state.written < self.writes {
                actions.push(Action::Write(at));
            }
            if db.rows.home_epoch().is_some() {
                let budget = state.user_moves_begun < self.user_moves;
                let residents = state.user_moves_begun < self.user_moves + state.bucket_moves_begun + state.aborts;
                let resident = |to| residents && moving_to(db) == Some(to);
                let targets = (0..3).filter(|to| *to != at && (budget || resident(*to)));
                actions.extend(targets.map(|target| Action::BeginMove { source: at, target }));
            }
            if db.rows.bucket.is_home() && state.bucket_moves_begun < self.bucket_moves {
                actions.extend((0..3).filter(|to| *to != at).map(|target| Action::BeginBucketMove { target }));
            }
        }
        for (which, (_, stage)) in state.moves.iter().enumerate() {
            actions.push(Action::StepMove(which));
            if *stage == UserStage::Prepared && state.aborts < self.aborts {
                actions.push(Action::AbortMove(which));
            }
            if *stage == UserStage::Committed && self.breaks(Broken::PublishingIsPartOfOpening) {
                actions.push(Action::OpenInSilence(which));
            }
        }
        for (which, run) in state.bucket_moves.iter().enumerate() {
            actions.push(Action::StepBucketMove(which));
            if state.takeovers < self.takeovers {
                actions.push(Action::TakeOverBucketMove(which));
            }
            if run.stage == BucketStage::Moving && self.breaks(Broken::AMovingBucketTakesNobodyIn) {
                actions.push(Action::Count(which));
            }
        }
        actions.extend((0..state.publications.len()).map(Action::Deliver));
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Write(at) => {
                state.dbs[at].data |= 1 << state.written;
                state.written += 1;
            }
            Action::BeginMove { source, target } => {
                let rows = &last.dbs[source].rows;
                let id = MoveId(100 + u128::from(state.user_moves_begun));
                let plan = UserMove::new(id, cell(source), cell(target), rows.home_epoch()?).ok()?;
                Coordinator::new(&plan, 1).claim(&mut state.dbs)?;
                state.moves.push((plan, UserStage::Claimed));
                state.user_moves_begun += 1;
            }
            Action::StepMove(which) => {
                let (plan, stage) = last.moves[which].clone();
                match self.step_move(&mut state, &plan, stage)? {
                    Some(stage) => state.moves[which].1 = stage,
                    None => drop(state.moves.remove(which)),
                }
            }
            Action::AbortMove(which) => {
                state.moves[which].1 = UserStage::Refused;
                state.aborts += 1;
            }
            Action::OpenInSilence(which) => {
                let (plan, stage) = state.moves.remove(which);
                self.step_move(&mut state, &plan, stage)?;
                state.publications.pop();
            }
            Action::BeginBucketMove { target } => {
                let s = last.dbs.iter().position(|db| db.rows.bucket.is_home())?;
                let row = &last.dbs[s].rows.bucket;
                let id = 900 + u128::from(state.bucket_moves_begun);
                let plan = BucketMove::new(MoveId(id), cell(s), cell(target), row.epoch, false).ok()?;
                state.dbs[s].rows.bucket = plan.begin(&cell(s), row, 1).ok()?.written()?;
                state.bucket_moves.push(BucketRun { plan, id, attempt: 1, stage: BucketStage::Moving });
                state.bucket_moves_begun += 1;
                state.counted = None;
            }
            Action::TakeOverBucketMove(which) => {
                let run = last.bucket_moves[which].clone();
                let s = number(run.plan.source());
                let attempt = 2 + u32::from(state.takeovers);
                let (step, progress) = run.plan.takeover(run.plan.source(), &last.dbs[s].rows.bucket, attempt).ok()?;
                if let Step::Write(row) = step {
                    state.dbs[s].rows.bucket = row;
                }
                let stage = match progress {
                    BucketProgress::Moving => BucketStage::Moving,
                    BucketProgress::Flipped(flipped) => BucketStage::Flipped(flipped),
                };
                state.bucket_moves.push(BucketRun { attempt, stage, ..run });
                state.takeovers += 1;
            }
            Action::Count(which) => {
                let s = number(last.bucket_moves[which].plan.source());
                state.counted = Some(self.count(&last.dbs[s]));
            }
            Action::StepBucketMove(which) => {
                let run = last.bucket_moves[which].clone();
                match self.step_bucket(&mut state, &run) {
                    Ok(Some(stage)) => state.bucket_moves[which].stage = stage,
                    Ok(None) => drop(state.bucket_moves.remove(which)),
                    // An attempt that was taken over stops; a refusal for residents is tried again.
                    Err(()) if superseded(last, &run) => drop(state.bucket_moves.remove(which)),
                    Err(()) => return None,
                }
            }
            Action::Deliver(which) => self.deliver(&mut state, which)?,
        }
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("at most one home", |_, state: &State| {
                state.dbs.iter().filter(|db| db.rows.home_epoch().is_some()).count() <= 1
            }),
            Property::always("no acknowledged write is lost", |_, state: &State| {
                let all = (1 << state.written) - 1;
                let serving = |(at, db): &(usize, &Db)| db.serves(*at, OwnerEpochs::ZERO);
                state.dbs.iter().enumerate().filter(serving).all(|(_, db)| db.data == all)
            }),
            Property::always("redirects rise and end", |model, state: &State| {
                let ask = |me: &CellId, rows: &KeyRows, asked| model.ask(me, rows, asked);
                let end = |from| follow(&state.dbs, from, OwnerEpochs::ZERO, ask);
                (0..3).all(|from| matches!(end(from), End::Served(_) | End::Moving))
            }),
            Property::always("the bucket's home knows of a pin before the map does", |_, state: &State| {
                let Some((Some(_), epoch)) = state.map.pin else { return true };
                let mut homes = state.dbs.iter().filter(|db| db.rows.bucket.is_home());
                homes.all(|db| known(db) >= Some(epoch))
            }),
            Property::always("the cell that the map names knows the epoch that the map knows", |_, state: &State| {
                let Some((cell, epoch)) = state.map.pin else { return true };
                known(&state.dbs[cell.unwrap_or(state.map.bucket)]) >= Some(epoch)
            }),
            Property::always("at rest the map, the bucket and every redirect name the one home", at_rest),
        ]
    }
}

/// The latest epoch of the user that a database has heard of.
fn known(db: &Db) -> Option<UserEpoch> {
    let user = db.rows.user.as_ref().map(|user| user.epoch);
    user.max(db.rows.away.as_ref().map(|away| away.epoch))
}

fn superseded(state: &State, run: &BucketRun) -> bool {
    match &state.dbs[number(run.plan.source())].rows.bucket.state {
        BucketState::Moving { claim, .. } => claim.move_id != MoveId(run.id) || claim.attempt != run.attempt,
        _ => true,
    }
}

fn at_rest(model: &Cells, state: &State) -> bool {
    if !(state.publications.is_empty() && state.moves.is_empty() && state.bucket_moves.is_empty()) {
        return true;
    }
    let homes: Vec<usize> = (0..3).filter(|at| state.dbs[*at].rows.home_epoch().is_some()).collect();
    let [home] = homes[..] else { return false };
    let (mapped, known) = match state.map.pin {
        Some((cell, epoch)) => (cell.unwrap_or(state.map.bucket), epoch),
        None => (state.map.bucket, UserEpoch::ZERO),
    };
    let ask = |me: &CellId, rows: &KeyRows, asked| model.ask(me, rows, asked);
    let by_map = OwnerEpochs::new(known, BucketEpoch::ZERO);
    let bucket_homes: Vec<usize> = (0..3).filter(|at| state.dbs[*at].rows.bucket.is_home()).collect();
    let names_home = |bucket: usize| match answer(&cell(bucket), &state.dbs[bucket].rows, OwnerEpochs::ZERO) {
        Answer::Serve { .. } => bucket == home,
        Answer::WrongCell { owner, .. } => owner == cell(home),
        Answer::Moving => false,
    };
    mapped == home
        && bucket_homes == [state.map.bucket]
        && names_home(state.map.bucket)
        && follow(&state.dbs, mapped, by_map, ask) == End::Served(home)
        && (0..3).all(|from| follow(&state.dbs, from, OwnerEpochs::ZERO, ask) == End::Served(home))
}

#[test]
fn own_3_own_14_and_own_19_hold_while_users_and_their_bucket_move() {
    let size = |user_moves, bucket_moves, takeovers, aborts| Cells {
        broken: None,
        user_moves,
        bucket_moves,
        takeovers,
        aborts,
        writes: 1,
    };
    holds("publish, user moves", size(3, 1, 0, 0));
    holds("publish, bucket moves", size(1, 2, 1, 0));
    holds("publish, all", size(2, 1, 1, 1));
    if soak() {
        holds("publish, two of each", size(2, 2, 0, 0));
        holds("publish, user moves given up", size(3, 1, 0, 1));
        holds("publish, three bucket moves", size(1, 3, 0, 0));
    }
}

const TWO_HOMES: &str = "at most one home";
const LOST: &str = "no acknowledged write is lost";
const REDIRECTS: &str = "redirects rise and end";
const AT_REST: &str = "at rest the map, the bucket and every redirect name the one home";

fn small(rule: Broken) -> Cells {
    Cells { broken: Some(rule), user_moves: 2, bucket_moves: 1, takeovers: 0, aborts: 0, writes: 1 }
}

fn user_moves(rule: Broken, property: &'static str) {
    breaks(&format!("{rule:?}"), small(rule), property);
}

fn bucket_moves(rule: Broken, property: &'static str) {
    let model = Cells { user_moves: 0, bucket_moves: 2, takeovers: 1, ..small(rule) };
    breaks(&format!("{rule:?}"), model, property);
}

#[test]
fn own_3_is_needed_the_source_remembers_who_left() {
    user_moves(Broken::TheSourceRemembersWhoLeft, TWO_HOMES);
}

#[test]
fn own_3_is_needed_publications_reach_the_buckets_home() {
    user_moves(Broken::PublicationsReachTheBucketsHome, AT_REST);
}

#[test]
fn own_3_is_needed_an_away_row_gives_way_only_to_a_higher_epoch() {
    user_moves(Broken::AwayOnlyIfHigher, AT_REST);
}

#[test]
fn own_3_is_needed_publications_follow_the_bucket() {
    user_moves(Broken::AwayFollowsTheBucket, AT_REST);
}

#[test]
fn own_19_is_needed_the_buckets_home_learns_before_the_map() {
    user_moves(Broken::AwayComesBeforeThePin, "the bucket's home knows of a pin before the map does");
}

#[test]
fn own_14_is_needed_the_flip_counts_user_rows() {
    user_moves(Broken::TheFlipCountsRows, AT_REST);
}

#[test]
fn own_14_is_needed_the_flip_counts_users_without_a_row() {
    user_moves(Broken::TheFlipCountsRowlessData, LOST);
}

#[test]
fn own_14_is_needed_away_rows_are_copied_before_the_target_opens() {
    user_moves(Broken::AwayIsCopiedBeforeOpening, TWO_HOMES);
}

#[test]
fn own_14_is_needed_a_moving_bucket_takes_nobody_in() {
    user_moves(Broken::AMovingBucketTakesNobodyIn, LOST);
}

#[test]
fn own_14_is_needed_who_left_before_the_bucket_came_is_copied_too() {
    let model = Cells { user_moves: 3, ..small(Broken::LeaversAreCopied) };
    breaks("LeaversAreCopied", model, TWO_HOMES);
}

#[test]
fn own_14_is_needed_who_came_back_after_the_flip_is_copied_too() {
    user_moves(Broken::ReturnersAreCopied, TWO_HOMES);
}

#[test]
fn own_14_is_needed_the_map_asks_the_buckets_new_home() {
    bucket_moves(Broken::TheMapAsksTheBucketsHome, AT_REST);
}

#[test]
fn the_epoch_pair_is_needed_buckets_have_epochs() {
    bucket_moves(Broken::BucketEpochsAreCompared, REDIRECTS);
}

#[test]
fn the_epoch_pair_is_not_compared_for_users_who_moved() {
    user_moves(Broken::BucketEpochsOfMoversAreIgnored, AT_REST);
}

#[test]
fn own_19_is_needed_publishing_is_part_of_opening() {
    user_moves(Broken::PublishingIsPartOfOpening, AT_REST);
}

#[test]
fn own_19_is_needed_the_map_takes_only_higher_epochs() {
    user_moves(Broken::TheMapTakesOnlyHigher, AT_REST);
}

#[test]
fn own_19_is_needed_a_dropped_pin_leaves_a_tombstone() {
    user_moves(Broken::ADroppedPinLeavesATombstone, AT_REST);
}

#[test]
fn own_19_is_needed_a_pin_is_dropped_only_for_the_maps_cell_of_the_bucket() {
    user_moves(Broken::DroppingNeedsTheMapsCell, "the cell that the map names knows the epoch that the map knows");
}
