use crate::support::{Model, any_key, any_model, cell, cell_id, check, draft, key, region, two_cells, user_key};
use cell_map::{
    Applied, BUCKET_COUNT, BucketId, Cell, CellMap, CellState, Incarnation, MapDraft, MapEpoch, MapError, UserEpoch,
};
use proptest::prelude::*;
use std::{collections::BTreeMap, time::Duration};

/// A map rebuilt from its stored parts.
fn reread(map: &CellMap) -> CellMap {
    let mut draft = MapDraft::new(map.incarnation());
    draft.set_epoch(map.epoch()).set_global_cell(&map.global_cell().id);
    for cell in map.cells() {
        draft.add_cell(cell.clone()).unwrap();
    }
    draft.set_bucket_table_bytes(&map.bucket_table_bytes()).unwrap();
    draft.set_reserved_bytes(&map.reserved_bytes()).unwrap();
    for pin in map.pins() {
        let home = pin.cell.map(|index| &map.cell_at(index).id);
        draft.add_pin(user_key(pin.key), home, pin.user_epoch).unwrap();
    }
    for (a, b, rtt) in map.distances() {
        draft.add_distance(b, a, rtt).unwrap();
    }
    map.forced_reason().map(|reason| draft.force(reason));
    draft.build().unwrap()
}

#[test]
fn stored_form_gives_the_same_map() {
    check(30, any_model(), |model| {
        let map = model.build();
        let again = reread(&map);
        prop_assert_eq!(again.content_hash(), map.content_hash());
        prop_assert!(cell_map::diff(&map, &again).is_empty());
        Ok(())
    });
}

#[test]
fn a_chain_of_versions_equals_one_built_at_once() {
    let claims = prop::collection::vec((any_key(), 0..5_usize, 1..9_u64, any::<bool>()), 0..80);
    check(40, (any_model(), claims, 1..5_usize), |(model, claims, per_version)| {
        let mut map = model.build();
        let mut expected = model.pins.clone();
        for batch in claims.chunks(per_version.max(claims.len() / 6).max(1)) {
            let mut next = map.next();
            for (key, cell, epoch, pin_needed) in batch {
                let cell = cell % model.cells.len();
                let known = expected.get(key).map_or(0, |(_, epoch)| *epoch);
                let at_home = !pin_needed && map.bucket_home(BucketId::of_bytes(key)).id == Model::name(cell);
                let applied = next.publish(user_key(key), &Model::name(cell), UserEpoch::new(*epoch), *pin_needed);
                let expect = match (*epoch > known, at_home) {
                    (false, _) => Applied::Stale,
                    (true, true) => Applied::Dropped,
                    (true, false) => Applied::Pinned,
                };
                prop_assert_eq!(applied, Ok(expect), "OWN-19: only a higher epoch counts");
                if expect != Applied::Stale {
                    expected.insert(key.clone(), ((!at_home).then_some(cell), *epoch));
                }
            }
            map = next.build().unwrap();
        }
        let at_once = Model { pins: expected, ..model }.build();
        prop_assert!(cell_map::diff(&map, &at_once).is_empty());
        prop_assert!(map.pins().eq(at_once.pins()));
        Ok(())
    });
}

#[test]
fn claims_in_any_order_end_at_the_highest_epoch() {
    let epochs = Just((1..12_u64).collect::<Vec<_>>()).prop_shuffle();
    check(60, epochs, |epochs| {
        let mut draft = two_cells().next();
        for epoch in &epochs {
            // The owner of each epoch is fixed; only the order of arrival is not.
            let owner = cell_id(if epoch % 3 == 0 { "bj-1" } else { "sh-1" });
            draft.publish(key("alice"), &owner, UserEpoch::new(*epoch), epoch % 2 == 0).unwrap();
        }
        let map = draft.build().unwrap();
        let pin = map.pin(b"alice").expect("a tombstone at least");
        prop_assert_eq!(pin.user_epoch, UserEpoch::new(11));
        prop_assert_eq!(map.home(b"alice").cell.id.as_str(), "sh-1");
        Ok(())
    });
}

#[test]
fn buckets_are_spread_by_weight_with_one_in_eight_reserved() {
    let weights = prop::collection::vec(prop_oneof![0..10_u32, Just(u32::MAX)], 1..40);
    check(60, weights, |weights| {
        let mut draft = MapDraft::new(Incarnation::new(1));
        for (number, weight) in weights.iter().enumerate() {
            draft.add_cell(Cell { weight: *weight, ..cell(&format!("c-{number}"), "north") }).unwrap();
        }
        draft.set_global_cell(&cell_id("c-0"));
        let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
        if total == 0.0 {
            prop_assert_eq!(draft.spread_buckets().err(), Some(MapError::NoWeight));
            return Ok(());
        }
        draft.spread_buckets().unwrap();
        let map = draft.build().unwrap();
        prop_assert_eq!(BucketId::all().filter(|bucket| map.is_reserved(*bucket)).count(), BUCKET_COUNT / 8);
        for (number, weight) in weights.iter().enumerate() {
            let index = map.index_of(&cell_id(&format!("c-{number}"))).unwrap();
            let share = f64::from(*weight) / total;
            let mintable = map.mintable_count(index) as f64;
            let reserved = map.bucket_count(index) as f64 - mintable;
            prop_assert!((mintable - share * 57_344.0).abs() < 1.01, "cell {} has {}", number, mintable);
            prop_assert!((reserved - share * 8_192.0).abs() < 1.01, "cell {} has {} reserved", number, reserved);
        }
        Ok(())
    });
}

#[test]
fn draining_cells_get_no_buckets_of_a_first_layout() {
    let mut draft = MapDraft::new(Incarnation::new(1));
    draft.add_cell(Cell { state: CellState::Draining, ..cell("old", "north") }).unwrap();
    draft.add_cell(cell("new", "north")).unwrap().set_global_cell(&cell_id("old")).spread_buckets().unwrap();
    let map = draft.build().unwrap();
    assert_eq!(map.bucket_count(map.index_of(&cell_id("old")).unwrap()), 0);
    assert_eq!(map.bucket_count(map.index_of(&cell_id("new")).unwrap()), BUCKET_COUNT);
}

#[test]
fn the_next_version_keeps_all_but_epoch_and_force() {
    let mut first = draft(&[("bj-1", "beijing"), ("sh-1", "shanghai")]);
    first.force("the first layout").pin(key("alice"), &cell_id("sh-1"), UserEpoch::new(1)).unwrap();
    first.set_distance(&region("beijing"), &region("shanghai"), Duration::from_millis(30)).unwrap();
    let first = first.build().unwrap();
    let second = first.next().build().unwrap();
    assert_eq!((second.incarnation(), second.epoch()), (first.incarnation(), MapEpoch::new(2)));
    assert!(cell_map::diff(&first, &second).is_empty());
    assert_eq!(second.forced_reason(), None);
    assert_ne!(first, second);
}

#[test]
fn a_cell_is_removed_only_when_it_is_nobodys_home() {
    let map = draft(&[("a", "north"), ("b", "north"), ("c", "north")]).build().unwrap();
    let in_use = |draft: &mut MapDraft, id: &str| match draft.remove_cell(&cell_id(id)) {
        Err(MapError::CellInUse { why, .. }) => why,
        other => panic!("removed: {}", other.is_ok()),
    };
    let mut next = map.next();
    assert_eq!(in_use(&mut next, "b"), "the home of buckets");
    for bucket in BucketId::all().filter(|bucket| map.bucket_home(*bucket).id.as_str() == "b") {
        next.set_bucket_cell(bucket, &cell_id("c")).unwrap();
    }
    next.pin(key("alice"), &cell_id("b"), UserEpoch::new(1)).unwrap();
    next.pin(key("bob"), &cell_id("c"), UserEpoch::new(1)).unwrap();
    assert_eq!(in_use(&mut next, "b"), "the home of pinned users");
    next.drop_pin(key("alice"), UserEpoch::new(2)).unwrap();
    next.set_global_cell(&cell_id("b"));
    assert_eq!(in_use(&mut next, "b"), "the global cell");
    next.set_global_cell(&cell_id("c")).remove_cell(&cell_id("b")).unwrap();
    let without = next.build().unwrap();
    assert_eq!(without.cells().iter().map(|cell| cell.id.as_str()).collect::<Vec<_>>(), ["a", "c"]);
    assert_eq!(without.home(b"bob").cell.id.as_str(), "c");
    assert_eq!(without.home(b"alice").user_epoch, UserEpoch::new(2), "the tombstone stays");
    for bucket in BucketId::all() {
        let before = map.bucket_home(bucket).id.as_str();
        assert_eq!(without.bucket_home(bucket).id.as_str(), if before == "b" { "c" } else { before });
    }
}

/// What each mistake is told, by name.
#[test]
fn wrong_drafts_are_refused_naming_what_is_wrong() {
    let right = || draft(&[("bj-1", "beijing"), ("sh-1", "shanghai")]);
    let with_endpoint = |id: &str, endpoint: &str| Cell { peer_endpoints: vec![endpoint.to_owned()], ..cell(id, "x") };
    let said: BTreeMap<&str, MapError> = BTreeMap::from([
        ("cells", MapDraft::new(Incarnation::new(1)).build().unwrap_err()),
        ("incarnation", MapDraft::new(Incarnation::ZERO).build().unwrap_err()),
        ("epoch", right().set_epoch(MapEpoch::ZERO).clone().build().unwrap_err()),
        ("twice", right().add_cell(cell("bj-1", "x")).err().unwrap()),
        ("global", right().set_global_cell(&cell_id("gz-1")).clone().build().unwrap_err()),
        ("bucket cell", right().set_bucket_cell(BucketId::new(1), &cell_id("gz-1")).err().unwrap()),
        ("pin cell", right().pin(key("a"), &cell_id("gz-1"), UserEpoch::new(1)).err().unwrap()),
        ("pin epoch", right().pin(key("a"), &cell_id("bj-1"), UserEpoch::ZERO).err().unwrap()),
        ("table", right().set_bucket_table_bytes(&[0; 131_070]).err().unwrap()),
        ("odd table", right().set_bucket_table_bytes(&[0; 131_073]).err().unwrap()),
        ("index", right().set_bucket_table_bytes(&[2; 131_072]).unwrap().clone().build().unwrap_err()),
        ("reserved", right().set_reserved_bytes(&[]).err().unwrap()),
        ("endpoint", right().add_cell(with_endpoint("gz-1", "http://x:1")).err().unwrap()),
        ("self", right().set_distance(&region("x"), &region("x"), Duration::ZERO).err().unwrap()),
        ("long", right().set_distance(&region("x"), &region("y"), Duration::from_secs(5000)).err().unwrap()),
        ("reason", right().force("").clone().build().unwrap_err()),
        ("long reason", right().force(&"x".repeat(1025)).clone().build().unwrap_err()),
        ("incarnation back", right().begin_incarnation(Incarnation::new(1)).err().unwrap()),
    ]);
    let said: BTreeMap<&str, String> = said.into_iter().map(|(what, error)| (what, error.to_string())).collect();
    let expect = BTreeMap::from([
        ("cells", "the map has no cells"),
        ("incarnation", "the map has no incarnation"),
        ("epoch", "the map has no epoch"),
        ("twice", "cell \"bj-1\" is there twice"),
        ("global", "the global cell names cell \"gz-1\", which the map does not have"),
        ("bucket cell", "a bucket names cell \"gz-1\", which the map does not have"),
        ("pin cell", "a pin names cell \"gz-1\", which the map does not have"),
        ("pin epoch", "the pin of user key \"a\" has user epoch 0; the lowest is 1"),
        ("table", "the bucket table has 131070 bytes, not 131072"),
        ("odd table", "the bucket table has 131073 bytes, not 131072"),
        ("index", "bucket 0 is homed in cell number 514, but there are 2 cells"),
        ("reserved", "the reserved buckets have 0 bytes, not 8192"),
        ("endpoint", "cell \"gz-1\": endpoint \"http://x:1\" is not host:port with a port of 1 to 65535"),
        ("self", "region \"x\" is given a distance to itself"),
        ("long", "the distance between regions \"x\" and \"y\" is longer than 4294 s"),
        ("reason", "the reason for forcing the map has 0 bytes; 1 to 1024 are allowed"),
        ("long reason", "the reason for forcing the map has 1025 bytes; 1 to 1024 are allowed"),
        ("incarnation back", "incarnation 1 does not exceed incarnation 1"),
    ]);
    assert!(said.iter().map(|(what, said)| (*what, said.as_str())).eq(expect), "{said:#?}");
}

#[test]
fn one_endpoint_cannot_stand_for_two_cells() {
    let mut draft = MapDraft::new(Incarnation::new(1));
    for (id, front, peer) in [("a", "h:1", "h:2"), ("b", "h:2", "h:3")] {
        let (front_endpoints, peer_endpoints) = (vec![front.to_owned()], vec![peer.to_owned()]);
        draft.add_cell(Cell { front_endpoints, peer_endpoints, ..cell(id, "north") }).unwrap();
    }
    draft.set_global_cell(&cell_id("a")).spread_buckets().unwrap();
    let (first, second) = (cell_id("a"), cell_id("b"));
    assert_eq!(draft.build().err(), Some(MapError::SharedEndpoint { endpoint: "h:2".to_owned(), first, second }));
}

#[test]
fn stale_pins_and_second_statements_are_refused() {
    let mut draft = draft(&[("bj-1", "beijing"), ("sh-1", "shanghai")]);
    let sh = cell_id("sh-1");
    draft.pin(key("a"), &sh, UserEpoch::new(5)).unwrap();
    let mut next = draft.build().unwrap().next();
    for epoch in [4, 5].map(UserEpoch::new) {
        let stale = MapError::StalePin { key: key("a"), known: UserEpoch::new(5), offered: epoch };
        assert_eq!(next.pin(key("a"), &sh, epoch).err(), Some(stale.clone()));
        assert_eq!(next.drop_pin(key("a"), epoch).err(), Some(stale));
    }
    let twice = next.add_pin(key("a"), Some(&sh), UserEpoch::new(6)).err();
    assert_eq!(twice, Some(MapError::DuplicatePin { key: key("a") }));
    let (a, b) = (region("a"), region("b"));
    next.add_distance(&a, &b, Duration::ZERO).unwrap();
    assert_eq!(
        next.add_distance(&b, &a, Duration::from_micros(1)).err(),
        Some(MapError::DuplicateDistance { a: b, b: a })
    );
}
