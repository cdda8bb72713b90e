use crate::support::{Model, any_key, any_model, cell_id, check, draft, key, two_cells, user_key};
use cell_map::{BucketId, CellMap, DecidedBy, KeyHash, UserEpoch};
use proptest::prelude::*;

/// The home by the rule's words: the pin, else the bucket's cell.
fn plain_home(model: &Model, map: &CellMap, key: &[u8]) -> (String, DecidedBy, u64) {
    let bucket_home = map.bucket_home(BucketId::of_bytes(key)).id.to_string();
    match model.pins.get(key) {
        Some((Some(cell), epoch)) => (Model::name(*cell).to_string(), DecidedBy::Pin, *epoch),
        Some((None, epoch)) => (bucket_home, DecidedBy::Bucket, *epoch),
        None => (bucket_home, DecidedBy::Bucket, 0),
    }
}

#[test]
fn home_is_the_pin_else_the_buckets_cell() {
    check(100, (any_model(), prop::collection::vec(any_key(), 0..60)), |(model, strangers)| {
        let map = model.build();
        for (bucket, cell) in &model.buckets {
            prop_assert_eq!(&map.bucket_home(BucketId::new(*bucket)).id, &Model::name(*cell));
        }
        for key in model.pins.keys().chain(&strangers) {
            let home = map.home(key);
            let answer = (home.cell.id.to_string(), home.decided_by, home.user_epoch.get());
            prop_assert_eq!(answer, plain_home(&model, &map, key));
            prop_assert_eq!(map.home_index(key), home.index);
            prop_assert_eq!(home.bucket, BucketId::of(&user_key(key)));
            prop_assert_eq!(map.cell_at(home.index), home.cell);
            let known = map.pin(key).map(|pin| (pin.cell.map(|cell| cell.index()), pin.user_epoch.get()));
            prop_assert_eq!(known, model.pins.get(key).copied());
        }
        prop_assert_eq!(map.pins().len(), model.pins.len());
        Ok(())
    });
}

#[test]
fn every_cell_is_found_by_name_and_counts_its_buckets() {
    check(30, any_model(), |model| {
        let map = model.build();
        for (number, cell) in map.cells().iter().enumerate() {
            prop_assert_eq!(map.index_of(&cell.id).map(|index| index.index()), Some(number));
            prop_assert_eq!(map.cell(&cell.id), Some(cell));
            let index = map.index_of(&cell.id).unwrap();
            let own = || BucketId::all().filter(|bucket| map.bucket_cell(*bucket) == index);
            prop_assert_eq!(map.bucket_count(index), own().count());
            prop_assert_eq!(map.mintable_count(index), own().filter(|bucket| !map.is_reserved(*bucket)).count());
        }
        prop_assert_eq!(map.cell(&cell_id("nobody")), None);
        Ok(())
    });
}

#[test]
fn pins_crowded_into_one_bucket_are_all_found() {
    let crowd: Vec<_> =
        (1..3_000_000_u64).map(|n| key(&n.to_string())).filter(|key| BucketId::of(key) == BucketId::new(7)).collect();
    assert!(crowd.len() > 30, "enough keys fall into the bucket");
    let (pinned, others) = crowd.split_at(crowd.len() / 2);
    let mut draft = draft(&[("bj-1", "beijing"), ("sh-1", "shanghai")]);
    for (number, key) in pinned.iter().enumerate() {
        draft.pin(key.clone(), &cell_id("sh-1"), UserEpoch::new(number as u64 + 1)).unwrap();
    }
    let map = draft.build().unwrap();
    for (number, key) in pinned.iter().enumerate() {
        let home = map.home(key.as_bytes());
        assert_eq!((home.cell.id.as_str(), home.user_epoch.get()), ("sh-1", number as u64 + 1));
    }
    for key in others {
        assert_eq!(map.home(key.as_bytes()).decided_by, DecidedBy::Bucket);
        assert_eq!(map.pin(key.as_bytes()), None);
    }
}

#[test]
fn pins_are_listed_in_the_order_of_their_hashes() {
    check(30, any_model(), |model| {
        let map = model.build();
        let places: Vec<_> = map.pins().map(|pin| (KeyHash::of(pin.key), pin.key)).collect();
        prop_assert!(places.is_sorted());
        Ok(())
    });
}

#[test]
fn explanation_says_why() {
    let map = two_cells();
    assert_eq!(
        map.explain(b"alice").to_string(),
        "home is bj-1 (beijing), because bucket 3474 belongs to it (map epoch 1, incarnation 1)"
    );

    let mut next = map.next();
    next.pin(key("alice"), &cell_id("sh-1"), UserEpoch::new(4)).unwrap();
    let pinned = next.build().unwrap();
    assert_eq!(
        pinned.explain(b"alice").to_string(),
        "home is sh-1 (shanghai), because the user is pinned there at user epoch 4; bucket 3474 belongs to bj-1 \
         (map epoch 2, incarnation 1)"
    );

    let mut next = pinned.next();
    next.drop_pin(key("alice"), UserEpoch::new(5)).unwrap();
    next.set_reserved(BucketId::of(&key("alice")), true);
    assert_eq!(
        next.build().unwrap().explain(b"alice").to_string(),
        "home is bj-1 (beijing), because reserved bucket 3474 belongs to it; a pin was dropped at user epoch 5 \
         (map epoch 3, incarnation 1)"
    );
}
