use crate::support::{cell_id, check, key, two_cells};
use cell_map::{Admission, AdmitError, CellMap, Incarnation, MapEpoch, UserEpoch, admit};
use proptest::prelude::*;

fn versions(count: usize) -> Vec<CellMap> {
    let mut versions = vec![two_cells()];
    while versions.len() < count {
        let mut next = versions[versions.len() - 1].next();
        let epoch = UserEpoch::new(versions.len() as u64);
        next.pin(key("alice"), &cell_id("sh-1"), epoch).unwrap();
        versions.push(next.build().unwrap());
    }
    versions
}

#[test]
fn deliveries_in_any_order_only_raise_the_epoch() {
    let versions = versions(8);
    let deliveries = prop::collection::vec(0..8_usize, 1..60);
    check(200, deliveries, |deliveries| {
        let mut current = &versions[0];
        for offered in deliveries.iter().map(|number| &versions[*number]) {
            let before = current.epoch();
            match admit(current, offered) {
                Admission::Newer => current = offered,
                Admission::Same => prop_assert_eq!(offered.content_hash(), current.content_hash()),
                Admission::Refused(error) => {
                    let expect = AdmitError::OlderEpoch { current: before, offered: offered.epoch() };
                    prop_assert_eq!(error, expect);
                }
            }
            prop_assert!(current.epoch() >= before);
        }
        let highest = deliveries.iter().copied().max().unwrap_or_default();
        prop_assert_eq!(current.epoch(), versions[highest].epoch());
        Ok(())
    });
}

#[test]
fn same_epoch_with_other_content_is_refused_with_an_alarm() {
    let map = two_cells();
    let twin = |cell: &str| {
        let mut next = map.next();
        next.pin(key("alice"), &cell_id(cell), UserEpoch::new(1)).unwrap();
        next.build().unwrap()
    };
    let (one, other) = (twin("bj-1"), twin("sh-1"));
    let refusal = AdmitError::SameEpochOtherContent { epoch: MapEpoch::new(2) };
    assert_eq!(admit(&one, &other), Admission::Refused(refusal));
    assert!(refusal.is_alarm());
    assert_eq!(admit(&one, &twin("bj-1")), Admission::Same);
}

#[test]
fn another_incarnation_is_refused_whatever_its_epoch() {
    let map = two_cells();
    let mut adopted = map.next();
    adopted.begin_incarnation(Incarnation::new(2)).unwrap();
    let adopted = adopted.build().unwrap();
    let (one, two) = (Incarnation::new(1), Incarnation::new(2));
    let refusal = AdmitError::OtherIncarnation { current: one, offered: two };
    assert_eq!(admit(&map, &adopted), Admission::Refused(refusal));
    assert!(refusal.is_alarm());
    let back = AdmitError::OtherIncarnation { current: two, offered: one };
    assert_eq!(admit(&adopted, &map), Admission::Refused(back));
}

#[test]
fn a_stale_read_is_refused_without_an_alarm() {
    let versions = versions(2);
    match admit(&versions[1], &versions[0]) {
        Admission::Refused(error) => assert!(!error.is_alarm()),
        other => panic!("{other:?}"),
    }
}
