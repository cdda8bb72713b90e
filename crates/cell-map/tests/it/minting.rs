use crate::support::{Model, any_model, cell_id, check, draft, two_cells};
use cell_map::{BucketId, CellState, DecidedBy, MintError, UserEpoch, mint};
use proptest::prelude::*;

/// SplitMix64 (Steele, Lea, Flood 2014).
fn rng(mut state: u64) -> impl FnMut() -> u64 {
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[test]
fn minted_ids_are_at_home_in_the_cell_and_in_no_reserved_bucket() {
    check(60, (any_model(), any::<u64>()), |(model, seed)| {
        let map = model.build();
        let mut rng = rng(seed);
        for (number, (_, draining)) in model.cells.iter().enumerate() {
            let cell = Model::name(number);
            let mintable = map.mintable_count(map.index_of(&cell).unwrap());
            // Cells with few buckets need many draws: too slow for a debug build.
            if !draining && (1..500).contains(&mintable) {
                continue;
            }
            match mint(&map, &cell, &mut rng) {
                Ok(id) => {
                    let home = map.home(id.key.as_bytes());
                    prop_assert_eq!(
                        (&home.cell.id, home.bucket, home.decided_by),
                        (&cell, id.bucket, DecidedBy::Bucket)
                    );
                    prop_assert!(!map.is_reserved(id.bucket));
                    prop_assert_eq!(id.text.len(), 26);
                    prop_assert!(!id.text.contains(['i', 'l', 'o', 'u']));
                }
                Err(MintError::Draining(_)) => prop_assert!(*draining),
                Err(MintError::NoHome(_)) => prop_assert_eq!(mintable, 0),
                Err(error) => prop_assert!(false, "{}", error),
            }
        }
        Ok(())
    });
}

#[test]
fn a_cell_with_one_mintable_bucket_still_mints() {
    let map = draft(&[("big", "north"), ("tiny", "north")]).build().unwrap();
    let mut next = map.next();
    for bucket in BucketId::all() {
        next.set_bucket_cell(bucket, &cell_id("big")).unwrap();
    }
    next.set_bucket_cell(BucketId::new(8), &cell_id("tiny")).unwrap();
    let map = next.build().unwrap();
    let id = mint(&map, &cell_id("tiny"), rng(1)).unwrap();
    assert_eq!((id.bucket, map.home(id.key.as_bytes()).cell.id.as_str()), (BucketId::new(8), "tiny"));
}

#[test]
fn a_cell_without_mintable_buckets_answers_no_home() {
    let mut next = two_cells().next();
    for bucket in BucketId::all() {
        next.set_reserved(bucket, true);
    }
    let map = next.build().unwrap();
    assert_eq!(mint(&map, &cell_id("bj-1"), rng(1)), Err(MintError::NoHome(cell_id("bj-1"))));
    assert_eq!(mint(&map, &cell_id("gz-1"), rng(1)), Err(MintError::UnknownCell(cell_id("gz-1"))));
}

#[test]
fn a_draining_cell_mints_nothing() {
    let mut next = two_cells().next();
    next.set_cell_state(&cell_id("sh-1"), CellState::Draining).unwrap();
    let map = next.build().unwrap();
    assert_eq!(mint(&map, &cell_id("sh-1"), rng(1)), Err(MintError::Draining(cell_id("sh-1"))));
}

#[test]
fn ids_that_the_map_knows_are_drawn_again() {
    let first = mint(&two_cells(), &cell_id("bj-1"), rng(7)).unwrap();
    for home in [Some("bj-1"), Some("sh-1"), None] {
        let mut next = two_cells().next();
        next.add_pin(first.key.clone(), home.map(cell_id).as_ref(), UserEpoch::new(1)).unwrap();
        let second = mint(&next.build().unwrap(), &cell_id("bj-1"), rng(7)).unwrap();
        assert_ne!(first.key, second.key);
    }
}

#[test]
fn broken_randomness_ends_in_an_error() {
    let map = two_cells();
    let own = |cell: &str| mint(&map, &cell_id(cell), || 0);
    let ends = [own("bj-1"), own("sh-1")];
    assert!(ends.iter().any(|end| matches!(end, Err(MintError::BadRandomness { draws: 128..200, .. }))), "{ends:?}");
}

#[test]
fn minted_ids_spread_over_the_cells_buckets() {
    let (map, mut rng) = (two_cells(), rng(3));
    let minted: Vec<_> = (0..4000).map(|_| mint(&map, &cell_id("sh-1"), &mut rng).unwrap()).collect();
    let buckets: std::collections::BTreeSet<_> = minted.iter().map(|id| id.bucket).collect();
    // 4,000 draws from 28,672 buckets fall into 3,733 different ones on average, give or take 16.
    assert!((3_620..3_850).contains(&buckets.len()), "{}", buckets.len());
}
