use crate::support::{Model, any_key, any_model, cell, cell_id, check, draft, key, two_cells};
use cell_map::{BucketId, CellState, Guard, GuardError, Incarnation, Moved, UserEpoch, check_guard, diff};
use proptest::prelude::*;
use std::collections::BTreeSet;

/// Two maps of the same cells.
fn pair() -> impl Strategy<Value = (Model, Model)> {
    (any_model(), any_model()).prop_map(|(old, mut new)| {
        let cells = old.cells.len();
        new.cells.clone_from(&old.cells);
        new.buckets.values_mut().for_each(|cell| *cell %= cells);
        new.pins.values_mut().for_each(|(cell, _)| *cell = cell.map(|cell| cell % cells));
        (old, new)
    })
}

#[test]
fn diff_names_exactly_what_differs() {
    check(60, (pair(), prop::collection::vec(any_key(), 0..20)), |((old, new), strangers)| {
        let (a, b) = (old.build(), new.build());
        let diff = diff(&a, &b);

        let moved: Vec<_> = diff.buckets_moved.iter().map(|moved| moved.bucket).collect();
        let differ = |bucket: &BucketId| a.bucket_home(*bucket).id != b.bucket_home(*bucket).id;
        prop_assert_eq!(moved, BucketId::all().filter(differ).collect::<Vec<_>>());
        let differ = |bucket: &BucketId| a.is_reserved(*bucket) != b.is_reserved(*bucket);
        prop_assert_eq!(&diff.reserved_changed, &BucketId::all().filter(differ).collect::<Vec<_>>());

        let keys: BTreeSet<_> = old.pins.keys().chain(new.pins.keys()).collect();
        let differ = |key: &&&Vec<u8>| old.pins.get(**key) != new.pins.get(**key);
        let expect: BTreeSet<_> = keys.iter().filter(differ).map(|key| key.as_slice()).collect();
        let changed: BTreeSet<_> = diff.pins_changed.iter().map(|change| change.key.as_bytes()).collect();
        prop_assert_eq!(&changed, &expect);

        // Whoever has another home has a changed bucket or a changed pin.
        for key in keys.into_iter().chain(&strangers) {
            let rehomed = a.home(key).cell.id != b.home(key).cell.id;
            let bucket = BucketId::of_bytes(key);
            let seen = changed.contains(key.as_slice()) || diff.buckets_moved.iter().any(|m| m.bucket == bucket);
            prop_assert!(!rehomed || seen);
        }
        Ok(())
    });
}

#[test]
fn another_order_of_the_cells_is_no_change() {
    let one = draft(&[("a", "north"), ("b", "north")]).build().unwrap();
    let mut other = draft(&[("b", "north"), ("a", "north")]);
    for bucket in BucketId::all() {
        other.set_bucket_cell(bucket, &one.bucket_home(bucket).id).unwrap();
    }
    other.set_global_cell(&cell_id("a"));
    assert!(diff(&one, &other.build().unwrap()).is_empty());
}

#[test]
fn diff_names_cells_and_the_global_cell() {
    let old = draft(&[("a", "north"), ("b", "north")]).build().unwrap();
    let mut next = old.next();
    next.add_cell(cell("c", "north")).unwrap().set_cell_state(&cell_id("a"), CellState::Draining).unwrap();
    next.set_global_cell(&cell_id("c"));
    let new = next.build().unwrap();
    let forth = diff(&old, &new);
    assert_eq!((forth.cells_added, forth.cells_removed), (vec![cell_id("c")], vec![]));
    assert_eq!(forth.cells_changed, [cell_id("a")]);
    assert_eq!(forth.global_cell, Some((cell_id("a"), cell_id("c"))));
    let back = diff(&new, &old);
    assert_eq!((back.cells_added, back.cells_removed), (vec![], vec![cell_id("c")]));
}

#[test]
fn guard_stops_versions_that_rehome_too_many_buckets() {
    let old = two_cells();
    let moving = |buckets: u16| {
        let mut next = old.next();
        for bucket in (0..buckets).map(BucketId::new) {
            next.set_bucket_cell(bucket, &cell_id("sh-1")).unwrap();
        }
        next
    };
    let guard = Guard { max_moved_permille: 10 };
    // 1 % of 65,536 buckets are 655.
    let allowed = moving(655).build().unwrap();
    assert_eq!(check_guard(&old, &allowed, guard), Ok(Moved { buckets: 655, pins: 0 }));
    let refused = check_guard(&old, &moving(656).build().unwrap(), guard).unwrap_err();
    let expect = "the map re-homes 656 of 65536 buckets and 0 of 0 pins, more than 10 permille; force it with a reason \
                  if that is meant";
    assert_eq!(refused.to_string(), expect);
    let forced = moving(30_000).force("sh-1 takes over").clone().build().unwrap();
    assert_eq!(check_guard(&old, &forced, guard), Ok(Moved { buckets: 30_000, pins: 0 }));
    assert_eq!(forced.forced_reason(), Some("sh-1 takes over"));
}

#[test]
fn guard_stops_versions_that_rehome_too_many_pins() {
    let pins = |cell: &str, epoch: u64, count: usize, draft: &mut cell_map::MapDraft| {
        for number in 0..count {
            draft.pin(key(&format!("user-{number}")), &cell_id(cell), UserEpoch::new(epoch)).unwrap();
        }
    };
    let mut old = two_cells().next();
    pins("bj-1", 1, 5000, &mut old);
    let old = old.build().unwrap();
    let moved = |count: usize| {
        let mut next = old.next();
        pins("sh-1", 2, count, &mut next);
        next.build().unwrap()
    };
    assert_eq!(check_guard(&old, &moved(1000), Guard::default()), Ok(Moved { buckets: 0, pins: 1000 }));
    let refused = check_guard(&old, &moved(1001), Guard::default());
    assert!(matches!(refused, Err(GuardError::TooManyMoved { pins: 1001, all_pins: 5000, .. })), "{refused:?}");
}

#[test]
fn no_reason_lets_a_users_epoch_fall() {
    let mut old = two_cells().next();
    old.pin(key("alice"), &cell_id("sh-1"), UserEpoch::new(3)).unwrap();
    let old = old.build().unwrap();
    let mut forgetful = two_cells().next();
    forgetful.set_epoch(old.epoch().next()).force("restored from a copy");
    let lost = GuardError::EpochLost { key: key("alice"), known: UserEpoch::new(3), offered: UserEpoch::ZERO };
    assert_eq!(check_guard(&old, &forgetful.clone().build().unwrap(), Guard::default()), Err(lost));
    forgetful.begin_incarnation(Incarnation::new(2)).unwrap();
    assert!(check_guard(&old, &forgetful.build().unwrap(), Guard::default()).is_ok(), "a new history may");
}

#[test]
fn guard_counts_what_is_rehomed() {
    check(40, pair(), |(old, new)| {
        let (a, b) = (old.build(), new.build());
        let fell = |(key, (_, epoch)): (&Vec<u8>, &(Option<usize>, u64))| {
            new.pins.get(key).is_none_or(|(_, later)| later < epoch)
        };
        let rehomed = diff(&a, &b).pins_changed.iter().filter(|change| change.rehomes()).count();
        match check_guard(&a, &b, Guard { max_moved_permille: 1000 }) {
            Ok(moved) => {
                prop_assert!(!old.pins.iter().any(fell));
                prop_assert_eq!(moved, Moved { buckets: diff(&a, &b).buckets_moved.len(), pins: rehomed });
            }
            Err(GuardError::EpochLost { .. }) => prop_assert!(old.pins.iter().any(fell)),
            Err(error) => prop_assert!(false, "{}", error),
        }
        Ok(())
    });
}
