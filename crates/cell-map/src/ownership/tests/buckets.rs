use super::{alone, away, cell, gone, home, importing, moved_to, moving, user, with_user};
use crate::ownership::{
    AwayRow, BucketMove, BucketProgress, BucketRefused, BucketRow, BucketState, Claim, Flipped, KeyRows, MoveId,
    Residents, Step, UserState,
};
use crate::{BucketEpoch, ownership::answer};

fn plan(base: u64) -> BucketMove {
    BucketMove::new(MoveId(900), cell("s"), cell("t"), BucketEpoch::new(base), false).unwrap()
}

fn flipped() -> Flipped {
    plan(1).flip(&cell("s"), &moving("t", 1), 1, Residents::default()).unwrap().1
}

#[test]
fn own_14_a_bucket_begins_to_move_only_from_its_home_at_the_planned_epoch() {
    let begin = |row: &BucketRow| plan(1).begin(&cell("s"), row, 1);
    assert_eq!(begin(&home(1)), Ok(Step::Write(moving("t", 1))));
    assert_eq!(begin(&BucketRow { state: BucketState::Reserved, ..home(1) }), Ok(Step::Write(moving("t", 1))));
    assert_eq!(begin(&moving("t", 1)), Ok(Step::Unchanged));
    assert!(matches!(begin(&home(2)), Err(BucketRefused::Stale { .. })));
    assert_eq!(begin(&gone("x", 1)), Err(BucketRefused::NotHome));
}

#[test]
fn own_14_the_flip_waits_until_nobody_is_left() {
    let flip = |left| plan(1).flip(&cell("s"), &moving("t", 1), 1, left);
    for left in [Residents { rows: 1, rowless_with_data: 0 }, Residents { rows: 0, rowless_with_data: 1 }] {
        assert_eq!(flip(left), Err(BucketRefused::Inhabited(left)));
    }
    assert_eq!(flip(Residents::default()).unwrap().0, Step::Write(gone("t", 2)));
}

#[test]
fn own_14_a_late_attempt_does_not_flip() {
    let claim = Claim { move_id: MoveId(900), attempt: 2 };
    let taken = BucketRow { state: BucketState::Moving { to: cell("t"), claim }, epoch: BucketEpoch::new(1) };
    let (raised, progress) = plan(1).takeover(&cell("s"), &moving("t", 1), 2).unwrap();
    assert_eq!((raised, progress), (Step::Write(taken.clone()), BucketProgress::Moving));
    let late = plan(1).flip(&cell("s"), &taken, 1, Residents::default());
    assert_eq!(late, Err(BucketRefused::Superseded { by: claim }));
}

#[test]
fn own_14_a_new_attempt_after_the_flip_goes_on_at_the_target() {
    let found = plan(1).takeover(&cell("s"), &gone("t", 2), 2);
    assert_eq!(found, Ok((Step::Unchanged, BucketProgress::Flipped(flipped()))));
}

#[test]
fn own_14_the_target_opens_once_and_never_over_a_later_home() {
    let open = |row: &BucketRow| flipped().open(&cell("t"), row);
    assert_eq!(open(&gone("s", 1)), Ok(Step::Write(home(2))));
    assert_eq!(open(&home(2)), Ok(Step::Unchanged));
    assert_eq!(open(&gone("x", 3)), Ok(Step::Unchanged));
}

#[test]
fn own_10_a_reserved_bucket_stays_reserved_if_the_plan_says_so() {
    let plan = BucketMove::new(MoveId(900), cell("s"), cell("t"), BucketEpoch::new(1), true).unwrap();
    let (_, flipped) = plan.flip(&cell("s"), &moving("t", 1), 1, Residents::default()).unwrap();
    let row = flipped.open(&cell("t"), &gone("s", 1)).unwrap().written().unwrap();
    assert!(row.state == BucketState::Reserved && !row.mintable() && row.is_home());
}

#[test]
fn own_14_away_rows_are_copied_unless_the_target_knows_better() {
    let copy = |rows: &KeyRows, row: AwayRow| flipped().copy_away(&cell("t"), rows, row).unwrap().written();
    let target = alone(gone("s", 1));
    assert_eq!(copy(&target, away("x", 3)), Some(away("x", 3)));
    assert_eq!(copy(&target, away("t", 3)), None, "the target itself");
    assert_eq!(copy(&KeyRows { away: Some(away("y", 4)), ..target.clone() }, away("x", 3)), None, "lower");
    assert_eq!(copy(&with_user(gone("s", 1), user(UserState::Home, 4, None)), away("x", 3)), None, "lives there");
}

#[test]
fn own_14_every_row_tells_where_a_user_went() {
    let tell = |rows: &KeyRows| rows.whereabouts(&cell("s"));
    let left = with_user(gone("t", 2), user(moved_to("x"), 3, None));
    assert_eq!(tell(&left), Some(away("x", 3)));
    assert_eq!(tell(&KeyRows { away: Some(away("y", 2)), ..left.clone() }), Some(away("x", 3)));
    assert_eq!(tell(&KeyRows { away: Some(away("y", 4)), ..left }), Some(away("y", 4)));
    assert_eq!(tell(&with_user(gone("t", 2), user(UserState::Home, 4, None))), Some(away("s", 4)), "came back");
    let coming = user(importing("x"), 3, Some((1, 1)));
    assert_eq!(tell(&with_user(gone("t", 2), coming)), Some(away("x", 3)), "is coming back");
    assert_eq!(tell(&alone(gone("t", 2))), None);
}

#[test]
fn a_late_coordinator_does_not_bring_an_old_home_back_into_the_map() {
    assert_eq!(flipped().check_map(&cell("t"), &home(2)), Ok(()));
    assert!(flipped().check_map(&cell("t"), &gone("x", 3)).is_err());
    assert!(flipped().check_map(&cell("t"), &home(4)).is_err());
}

#[test]
fn own_14_in_a_moving_bucket_a_user_without_row_is_served_only_if_he_has_data() {
    let rows = alone(moving("t", 1));
    let served = answer(&cell("s"), &rows, super::epochs(0, 1));
    assert!(matches!(served, super::super::Answer::Serve { only_with_data: true, .. }));
    assert!(!rows.registrable());
}
