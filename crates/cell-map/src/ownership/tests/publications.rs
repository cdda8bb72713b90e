use super::{alone, away, cell, gone, home, importing, moved_to, moving, user, with_user};
use crate::ownership::{
    AwayStep, BucketRow, BucketState, KeyRows, MapStep, Outcome, Publication, Step, UserMove, UserState,
};
use crate::{BucketEpoch, UserEpoch};

fn publication(to: &str, epoch: u64, pin: bool) -> Publication {
    Publication { cell: cell(to), epoch: UserEpoch::new(epoch), pin }
}

fn opened_in(bucket: BucketRow) -> Publication {
    let plan: UserMove = super::plan(0);
    let source = with_user(home(1), user(moved_to("t"), 1, Some((1, 1))));
    let Ok(Outcome::Committed(proof)) = plan.outcome(&cell("s"), &source) else { panic!("committed") };
    let target = with_user(bucket, user(importing("s"), 0, Some((1, 1))));
    proof.open(&cell("t"), &target).unwrap().written().unwrap().publication
}

#[test]
fn own_19_opening_asks_for_a_pin_unless_the_bucket_is_at_home_there() {
    assert_eq!(opened_in(gone("s", 1)), publication("t", 1, true));
    assert_eq!(opened_in(home(1)), publication("t", 1, false));
    assert_eq!(opened_in(BucketRow { state: BucketState::Reserved, ..home(1) }), publication("t", 1, false));
    assert_eq!(opened_in(moving("x", 1)), publication("t", 1, true));
}

#[test]
fn own_19_the_map_takes_a_publication_only_with_a_higher_epoch() {
    let step = |known: Option<u64>, pin| publication("t", 2, pin).map_step(known.map(UserEpoch::new), &cell("t"));
    assert_eq!(step(None, true), MapStep::Pin);
    assert_eq!(step(Some(1), true), MapStep::Pin);
    assert_eq!(step(Some(2), true), MapStep::Stale);
    assert_eq!(step(Some(3), false), MapStep::Stale);
}

#[test]
fn own_19_a_pin_is_dropped_only_if_the_maps_bucket_names_the_cell() {
    assert_eq!(publication("t", 2, false).map_step(None, &cell("t")), MapStep::Drop);
    assert_eq!(publication("t", 2, false).map_step(None, &cell("s")), MapStep::Pin);
    assert_eq!(publication("t", 2, true).map_step(None, &cell("t")), MapStep::Pin);
}

#[test]
fn own_3_an_away_row_is_written_only_if_its_epoch_is_higher() {
    let step = |rows: &KeyRows| publication("x", 3, true).away_step(&cell("h"), rows, BucketEpoch::ZERO);
    let rows = |known| KeyRows { away: Some(known), ..alone(home(1)) };
    assert_eq!(step(&alone(home(1))), AwayStep::Here(Step::Write(away("x", 3))));
    assert_eq!(step(&rows(away("y", 2))), AwayStep::Here(Step::Write(away("x", 3))));
    assert_eq!(step(&rows(away("x", 3))), AwayStep::Here(Step::Unchanged));
    assert_eq!(step(&alone(moving("z", 1))), AwayStep::Here(Step::Write(away("x", 3))), "home until the flip");
}

#[test]
fn own_3_an_away_row_of_long_ago_does_not_come_back() {
    let step = |rows: &KeyRows| publication("x", 3, true).away_step(&cell("h"), rows, BucketEpoch::ZERO);
    assert_eq!(step(&with_user(home(1), user(UserState::Home, 4, None))), AwayStep::Here(Step::Unchanged));
    let own = publication("h", 3, true).away_step(&cell("h"), &alone(home(1)), BucketEpoch::ZERO);
    assert_eq!(own, AwayStep::Here(Step::Unchanged));
}

#[test]
fn own_3_a_publication_follows_the_bucket_and_waits_where_it_is_expected() {
    let step = |row, asked| publication("x", 3, true).away_step(&cell("h"), &alone(row), BucketEpoch::new(asked));
    assert_eq!(step(gone("t", 2), 0), AwayStep::Follow { to: cell("t"), epoch: BucketEpoch::new(2) });
    assert_eq!(step(gone("t", 1), 2), AwayStep::Wait);
}
