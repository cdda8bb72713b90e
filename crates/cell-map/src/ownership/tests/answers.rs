use super::{alone, away, cell, epochs, gone, home, importing, moved_to, user, with_user};
use crate::OwnerEpochs;
use crate::ownership::{Answer, KeyRows, UserState, answer};

fn ask(rows: &KeyRows, asked: OwnerEpochs) -> Answer {
    answer(&cell("me"), rows, asked)
}

fn wrong(owner: &str, epochs: OwnerEpochs) -> Answer {
    Answer::WrongCell { owner: cell(owner), epochs }
}

#[test]
fn own_5_only_a_home_serves() {
    let serve = |user, bucket| Answer::Serve { epochs: epochs(user, bucket), only_with_data: false };
    assert_eq!(ask(&alone(home(1)), epochs(0, 0)), serve(0, 1));
    let mine = user(UserState::Home, 3, Some((1, 1)));
    assert_eq!(ask(&with_user(gone("x", 1), mine), epochs(3, 0)), serve(3, 1));
    assert_eq!(ask(&with_user(home(1), user(UserState::Frozen, 3, Some((1, 1)))), epochs(3, 0)), Answer::Moving);
    assert_eq!(ask(&with_user(home(1), user(moved_to("x"), 4, None)), epochs(3, 0)), wrong("x", epochs(4, 1)));
    assert_eq!(ask(&alone(gone("x", 2)), epochs(0, 1)), wrong("x", epochs(0, 2)));
}

#[test]
fn an_importing_target_names_the_source_until_the_asker_knows_better() {
    let rows = with_user(gone("s", 1), user(importing("s"), 3, Some((1, 1))));
    assert_eq!(ask(&rows, epochs(3, 1)), wrong("s", epochs(3, 1)));
    assert_eq!(ask(&rows, epochs(4, 1)), Answer::Moving);
}

#[test]
fn of_a_user_row_and_an_away_row_the_higher_counts_and_on_a_tie_the_user_row() {
    let rows = |away| KeyRows { away: Some(away), ..with_user(home(1), user(moved_to("x"), 3, None)) };
    assert_eq!(ask(&rows(away("y", 4)), epochs(0, 0)), wrong("y", epochs(4, 1)));
    assert_eq!(ask(&rows(away("y", 3)), epochs(0, 0)), wrong("x", epochs(3, 1)));
    assert_eq!(ask(&KeyRows { away: Some(away("y", 2)), ..alone(home(1)) }, epochs(0, 9)), wrong("y", epochs(2, 1)));
}

#[test]
fn own_8_no_owner_is_named_with_a_lower_epoch_than_asked_and_never_the_cell_itself() {
    assert_eq!(ask(&alone(gone("x", 2)), epochs(0, 3)), Answer::Moving);
    assert_eq!(ask(&with_user(home(9), user(moved_to("x"), 3, None)), epochs(4, 0)), Answer::Moving);
    assert_eq!(ask(&alone(gone("me", 2)), epochs(0, 0)), Answer::Moving);
}

#[test]
fn the_buckets_epoch_orders_only_claims_about_users_who_never_moved() {
    // Redirected here by a cell with a bucket_epoch of 7: the user's epoch alone says that this is the owner.
    let rows = with_user(gone("s", 1), user(UserState::Home, 1, None));
    assert!(matches!(ask(&rows, epochs(1, 7)), Answer::Serve { .. }));
    assert!(epochs(0, 7).newer_than(epochs(0, 1)));
    assert!(!epochs(1, 7).newer_than(epochs(1, 1)));
    assert!(epochs(1, 0).newer_than(epochs(0, 7)));
}

#[test]
fn own_10_nobody_registers_under_a_name_that_was_known_before() {
    assert!(alone(home(1)).registrable());
    assert!(!alone(gone("x", 1)).registrable());
    assert!(!KeyRows { away: Some(away("x", 1)), ..alone(home(1)) }.registrable());
    assert!(!with_user(home(1), user(UserState::Home, 2, None)).registrable());
}
