use super::{alone, away, cell, gone, home, importing, moved_to, moving, plan, user, with_user};
use crate::UserEpoch;
use crate::ownership::{Aborted, KeyRows, MoveRefused, Outcome, Progress, Step, UserMove, UserState};

const MINE: Option<(u128, u32)> = Some((1, 1));

fn at_s(state: UserState, epoch: u64, claim: Option<(u128, u32)>) -> KeyRows {
    with_user(home(1), user(state, epoch, claim))
}

fn at_t(state: UserState, epoch: u64, claim: Option<(u128, u32)>) -> KeyRows {
    with_user(gone("s", 1), user(state, epoch, claim))
}

fn aborted(plan: &UserMove) -> Aborted {
    let rows = at_s(UserState::Home, plan.next().get(), None);
    match plan.outcome(&cell("s"), &rows) {
        Ok(Outcome::Aborted(proof)) => proof,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_move_from_a_cell_to_itself_is_no_plan() {
    let refused = UserMove::new(super::MoveId(1), cell("s"), cell("s"), UserEpoch::ZERO);
    assert_eq!(refused, Err(MoveRefused::SameCell { cell: cell("s") }));
}

#[test]
fn a_step_in_the_wrong_database_is_refused() {
    let wrong = |me, expected| MoveRefused::WrongDatabase { me: cell(me), expected: cell(expected) };
    assert_eq!(plan(0).claim(&cell("t"), &alone(home(1)), 1), Err(wrong("t", "s")));
    assert_eq!(plan(0).prepare(&cell("s"), &alone(gone("t", 1)), 1), Err(wrong("s", "t")));
}

#[test]
fn own_11_only_a_user_at_home_at_exactly_the_base_is_claimed() {
    let me = cell("s");
    let not_home = Err(MoveRefused::NotHome { base: UserEpoch::new(2) });
    assert_eq!(plan(2).claim(&me, &at_s(UserState::Home, 3, None), 1), not_home);
    assert_eq!(plan(2).claim(&me, &at_s(moved_to("t"), 2, None), 1), not_home);
    assert_eq!(plan(2).claim(&me, &alone(home(1)), 1), not_home);
    let known_elsewhere = KeyRows { away: Some(away("x", 3)), ..at_s(UserState::Home, 2, None) };
    assert_eq!(plan(2).claim(&me, &known_elsewhere, 1), not_home);
    let claimed = user(UserState::Home, 2, MINE);
    assert_eq!(plan(2).claim(&me, &at_s(UserState::Home, 2, None), 1), Ok(Step::Write(claimed.clone())));
    assert_eq!(plan(2).claim(&me, &with_user(home(1), claimed), 1), Ok(Step::Unchanged));
}

#[test]
fn own_11_one_move_at_a_time_holds_the_claim() {
    let held = at_s(UserState::Home, 0, Some((7, 1)));
    assert!(matches!(plan(0).claim(&cell("s"), &held, 1), Err(MoveRefused::Superseded { .. })));
    assert!(matches!(plan(0).freeze(&cell("s"), &held, 1), Err(MoveRefused::Superseded { .. })));
}

#[test]
fn own_3_a_pin_is_made_by_moving_an_empty_user_out_of_his_buckets_home() {
    let me = cell("s");
    let claimed = user(UserState::Home, 0, MINE);
    assert_eq!(plan(0).claim(&me, &alone(home(1)), 1), Ok(Step::Write(claimed)));
    assert!(plan(0).claim(&me, &alone(gone("x", 1)), 1).is_err());
    let frozen = at_s(UserState::Frozen, 0, MINE);
    let commit = plan(0).commit(&me, &frozen, 1).unwrap().written().unwrap();
    assert_eq!(commit.user, user(moved_to("t"), 1, MINE));
    assert_eq!(commit.away, Some(away("t", 1)));
}

#[test]
fn own_3_a_source_that_is_not_the_buckets_home_writes_no_away_row() {
    let frozen = with_user(gone("x", 1), user(UserState::Frozen, 4, MINE));
    assert_eq!(plan(4).commit(&cell("s"), &frozen, 1).unwrap().written().unwrap().away, None);
}

#[test]
fn own_14_in_a_moving_bucket_only_moves_along_with_it_are_claimed() {
    let me = cell("s");
    assert_eq!(plan(0).claim(&me, &alone(moving("x", 1)), 1), Err(MoveRefused::BucketMoving { to: cell("x") }));
    assert!(plan(0).claim(&me, &alone(moving("t", 1)), 1).is_ok());
    let refused = plan(0).prepare(&cell("t"), &KeyRows { away: Some(away("s", 0)), ..alone(moving("x", 1)) }, 1);
    assert_eq!(refused, Err(MoveRefused::BucketMoving { to: cell("x") }));
}

#[test]
fn own_11_freeze_and_commit_need_the_claim_of_this_very_attempt() {
    let me = cell("s");
    assert!(matches!(plan(0).freeze(&me, &alone(home(1)), 1), Err(MoveRefused::NotClaimed { .. })));
    assert!(matches!(plan(0).freeze(&me, &at_s(UserState::Home, 0, None), 1), Err(MoveRefused::NotClaimed { .. })));
    assert!(matches!(plan(0).freeze(&me, &at_s(UserState::Home, 0, MINE), 2), Err(MoveRefused::Superseded { .. })));
    let frozen = at_s(UserState::Frozen, 0, Some((1, 2)));
    assert!(matches!(plan(0).commit(&me, &frozen, 1), Err(MoveRefused::Superseded { .. })));
    assert_eq!(plan(0).commit(&me, &at_s(UserState::Home, 0, MINE), 1), Err(MoveRefused::NotFrozen));
}

#[test]
fn own_11_repeats_of_freeze_commit_and_abort_change_nothing() {
    let me = cell("s");
    assert_eq!(plan(0).freeze(&me, &at_s(UserState::Frozen, 0, MINE), 1), Ok(Step::Unchanged));
    assert_eq!(plan(0).commit(&me, &at_s(moved_to("t"), 1, MINE), 1), Ok(Step::Unchanged));
    assert_eq!(plan(0).abort(&me, &at_s(UserState::Home, 1, None), 1), Ok(Step::Unchanged));
}

#[test]
fn own_11_commit_and_abort_exclude_each_other() {
    let me = cell("s");
    assert_eq!(plan(0).abort(&me, &at_s(moved_to("t"), 1, MINE), 1), Err(MoveRefused::AlreadyCommitted));
    assert_eq!(plan(0).commit(&me, &at_s(UserState::Home, 1, None), 1), Err(MoveRefused::AlreadyAborted));
}

#[test]
fn own_11_an_abort_uses_up_the_epoch_before_and_after_the_freeze() {
    let given_back = Ok(Step::Write(user(UserState::Home, 1, None)));
    assert_eq!(plan(0).abort(&cell("s"), &at_s(UserState::Home, 0, MINE), 1), given_back);
    assert_eq!(plan(0).abort(&cell("s"), &at_s(UserState::Frozen, 0, MINE), 1), given_back);
}

#[test]
fn own_11_a_new_attempt_raises_the_row_and_learns_what_it_found() {
    let take = |rows: &KeyRows| plan(0).takeover(&cell("s"), rows, 2);
    let raised = |state| Step::Write(user(state, 0, Some((1, 2))));
    let frozen = at_s(UserState::Frozen, 0, MINE);
    assert_eq!(take(&frozen), Ok((raised(UserState::Frozen), Progress::Frozen)));
    assert_eq!(take(&alone(home(1))), Ok((raised(UserState::Home), Progress::Claimed)));
    assert!(matches!(take(&at_s(moved_to("t"), 1, MINE)), Ok((Step::Unchanged, Progress::Committed(_)))));
    assert!(matches!(take(&at_s(UserState::Home, 1, None)), Ok((Step::Unchanged, Progress::Aborted(_)))));
    assert!(matches!(take(&at_s(moved_to("x"), 1, Some((7, 1)))), Ok((Step::Unchanged, Progress::Aborted(_)))));
}

#[test]
fn own_11_an_attempt_number_is_used_once() {
    let taken = at_s(UserState::Frozen, 0, Some((1, 2)));
    assert!(matches!(plan(0).takeover(&cell("s"), &taken, 2), Err(MoveRefused::Superseded { .. })));
}

#[test]
fn own_11_the_target_is_prepared_only_where_nothing_later_is_known() {
    let prepare = |rows: &KeyRows| plan(4).prepare(&cell("t"), rows, 1);
    let written = |rows: &KeyRows| prepare(rows).unwrap().written().unwrap().user;
    let row = user(importing("s"), 4, MINE);
    assert_eq!(written(&alone(gone("s", 1))), row);
    assert_eq!(written(&at_t(moved_to("s"), 4, None)), row);
    assert!(matches!(prepare(&at_t(moved_to("s"), 5, None)), Err(MoveRefused::Stale { .. })));
    assert!(matches!(prepare(&at_t(importing("x"), 2, Some((7, 1)))), Err(MoveRefused::Superseded { .. })));
    assert_eq!(prepare(&alone(home(1))), Err(MoveRefused::AtHome));
    let known_elsewhere = KeyRows { away: Some(away("x", 5)), ..alone(home(1)) };
    assert!(matches!(prepare(&known_elsewhere), Err(MoveRefused::Stale { .. })));
}

#[test]
fn own_11_a_repeated_prepare_does_not_wipe_and_a_later_attempt_does() {
    let rows = at_t(importing("s"), 4, MINE);
    assert_eq!(plan(4).prepare(&cell("t"), &rows, 1), Ok(Step::Unchanged));
    let again = plan(4).prepare(&cell("t"), &rows, 2).unwrap().written().unwrap();
    assert_eq!(again.user, user(importing("s"), 4, Some((1, 2))));
    let later = at_t(importing("s"), 4, Some((1, 2)));
    assert!(matches!(plan(4).prepare(&cell("t"), &later, 1), Err(MoveRefused::Superseded { .. })));
}

#[test]
fn own_11_rows_are_imported_only_by_the_attempt_that_prepared() {
    let check = |rows: &KeyRows| plan(4).check_import(&cell("t"), rows, 1);
    assert_eq!(check(&at_t(importing("s"), 4, MINE)), Ok(()));
    assert_eq!(check(&at_t(importing("s"), 4, Some((1, 2)))), Err(MoveRefused::NotImporting));
    assert_eq!(check(&at_t(UserState::Home, 5, None)), Err(MoveRefused::NotImporting));
}

#[test]
fn own_11_a_committed_target_is_opened_once_by_any_attempt() {
    let Ok(Outcome::Committed(proof)) = plan(4).outcome(&cell("s"), &at_s(moved_to("t"), 5, MINE)) else {
        panic!("the source's row is this move's commit");
    };
    let open = proof.open(&cell("t"), &at_t(importing("s"), 4, Some((1, 3)))).unwrap().written().unwrap();
    assert_eq!(open.user, user(UserState::Home, 5, None));
    assert_eq!(proof.open(&cell("t"), &at_t(UserState::Home, 5, None)), Ok(Step::Unchanged));
    assert_eq!(proof.open(&cell("t"), &at_t(moved_to("x"), 6, None)), Ok(Step::Unchanged));
    assert_eq!(proof.open(&cell("t"), &alone(gone("s", 1))), Err(MoveRefused::NotImporting));
    assert_eq!(proof.open(&cell("t"), &at_t(importing("x"), 2, Some((7, 1)))), Err(MoveRefused::NotImporting));
}

#[test]
fn own_11_after_an_abort_even_an_unprepared_target_learns_it() {
    let end = |rows: &KeyRows| aborted(&plan(4)).end_import(&cell("t"), rows);
    let told = Ok(Step::Write(user(moved_to("s"), 5, None)));
    assert_eq!(end(&alone(gone("s", 1))), told);
    assert_eq!(end(&at_t(importing("s"), 4, MINE)), told);
    assert_eq!(end(&at_t(moved_to("s"), 5, None)), Ok(Step::Unchanged));
    let late = plan(4).prepare(&cell("t"), &at_t(moved_to("s"), 5, None), 1);
    assert!(matches!(late, Err(MoveRefused::Stale { .. })));
}

#[test]
fn own_12_only_what_this_move_left_behind_is_purged() {
    let left = |rows: &KeyRows| rows.check_purge(UserEpoch::new(1)).is_ok();
    assert!(left(&at_s(moved_to("t"), 1, MINE)));
    assert!(!left(&at_s(UserState::Home, 2, None)), "came back");
    assert!(!left(&at_s(importing("t"), 1, MINE)), "is coming back");
    assert!(!left(&at_s(moved_to("x"), 3, None)), "came back and left again");
    assert!(!left(&alone(home(1))), "never left");
}
