use crate::support::{after, beside, cell_id, first, folder, other_history};
use cell_map::{AdmitError, BucketId, Guard, GuardError, MapEpoch};
use map_store::{FileStore, FormatError, StoreError, format};
use std::{
    fs::{self, File},
    sync::Barrier,
    thread,
    time::Duration,
};

fn publish_first(store: &FileStore) -> cell_map::CellMap {
    let map = first();
    store.publish(&map, None, Guard::default()).unwrap();
    map
}

#[test]
fn published_versions_are_loaded_and_leave_a_last_good_copy() {
    let (_folder, path) = folder();
    let store = FileStore::open(&path);
    assert!(matches!(store.load(), Err(StoreError::NotFound { .. })));
    let one = publish_first(&store);
    let two = after(&one, "alice");
    store.publish(&two, Some(one.epoch()), Guard::default()).unwrap();
    assert_eq!(store.load().unwrap(), two);
    assert_eq!(fs::read(&path).unwrap(), fs::read(beside(&path, "last-good")).unwrap());
    assert!(!beside(&path, "tmp").exists());
}

#[test]
fn only_the_expected_epoch_is_replaced() {
    let (_folder, path) = folder();
    let store = FileStore::open(&path);
    let one = first();
    let too_early = store.publish(&after(&one, "alice"), Some(one.epoch()), Guard::default());
    assert!(matches!(too_early, Err(StoreError::Unexpected { found: None, .. })), "{too_early:?}");
    publish_first(&store);
    let again = store.publish(&one, None, Guard::default()).unwrap_err();
    assert_eq!(again.to_string(), "the store has map epoch 1, not no map");
    let wrong = store.publish(&after(&one, "alice"), Some(MapEpoch::new(7)), Guard::default()).unwrap_err();
    assert_eq!(wrong.to_string(), "the store has map epoch 1, not map epoch 7");
    assert_eq!(store.load().unwrap(), one);
}

#[test]
fn epochs_only_rise_and_histories_are_only_adopted() {
    let (_folder, path) = folder();
    let store = FileStore::open(&path);
    let one = publish_first(&store);
    let two = after(&one, "alice");
    store.publish(&two, Some(one.epoch()), Guard::default()).unwrap();
    let publish = |map: &cell_map::CellMap| store.publish(map, Some(two.epoch()), Guard::default()).unwrap_err();
    assert!(matches!(publish(&one), StoreError::Inadmissible(AdmitError::OlderEpoch { .. })));
    assert!(matches!(publish(&two), StoreError::Published(_)));
    let twin = after(&one, "bob");
    assert!(matches!(publish(&twin), StoreError::Inadmissible(AdmitError::SameEpochOtherContent { .. })));
    let other = other_history(&two);
    assert!(matches!(publish(&other), StoreError::Inadmissible(AdmitError::OtherIncarnation { .. })));
    assert_eq!(store.load().unwrap(), two);

    store.adopt(&other, two.epoch(), Guard::default()).unwrap();
    assert_eq!(store.load().unwrap(), other);
    let back = store.adopt(&after(&two, "carol"), other.epoch(), Guard::default()).unwrap_err();
    assert!(matches!(back, StoreError::Inadmissible(AdmitError::OtherIncarnation { .. })), "never back");
}

#[test]
fn the_guard_stops_a_version_unless_it_says_why() {
    let (_folder, path) = folder();
    let store = FileStore::open(&path);
    let one = publish_first(&store);
    let mut next = one.next();
    for bucket in (0..30_000).map(BucketId::new) {
        next.set_bucket_cell(bucket, &cell_id("sh-1")).unwrap();
    }
    let refused = store.publish(&next.clone().build().unwrap(), Some(one.epoch()), Guard::default());
    assert!(matches!(refused, Err(StoreError::Guard(GuardError::TooManyMoved { .. }))), "{refused:?}");
    let forced = next.force("moving house").clone().build().unwrap();
    assert_eq!(store.publish(&forced, Some(one.epoch()), Guard::default()).unwrap().buckets, 30_000);
    assert_eq!(store.load().unwrap().forced_reason(), Some("moving house"));
}

#[test]
fn of_racing_publishers_one_wins_each_round() {
    let (_folder, path) = folder();
    let mut current = publish_first(&FileStore::open(&path));
    let (rounds, racers) = (20, 4);
    for _ in 0..rounds {
        let start = Barrier::new(racers);
        let race = |number: usize| {
            let store = FileStore::open(&path);
            let mine = after(&current, &format!("user-{number}"));
            start.wait();
            store.publish(&mine, Some(current.epoch()), Guard::default()).map(|_| mine)
        };
        let results: Vec<_> = thread::scope(|scope| {
            let racers: Vec<_> = (0..racers).map(|number| scope.spawn(move || race(number))).collect();
            racers.into_iter().map(|racer| racer.join().unwrap()).collect()
        });
        let (won, lost): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
        assert_eq!(won.len(), 1);
        for error in lost.into_iter().map(Result::unwrap_err) {
            assert!(matches!(error, StoreError::Unexpected { .. }), "{error}");
        }
        let winner = won.into_iter().next().unwrap().unwrap();
        assert_eq!(FileStore::open(&path).load().unwrap(), winner);
        current = winner;
    }
    println!("figure: publisher races N={rounds}");
}

#[test]
fn readers_see_whole_maps_while_publishers_write() {
    let (_folder, path) = folder();
    let mut current = publish_first(&FileStore::open(&path));
    let versions = 60;
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (store, mut reads, mut epoch) = (FileStore::open(&path), 0, MapEpoch::ZERO);
            while epoch.get() <= versions {
                let map = store.load().unwrap();
                assert!(map.epoch() >= epoch, "a later read gives no older map");
                (epoch, reads) = (map.epoch(), reads + 1);
            }
            reads
        });
        let store = FileStore::open(&path);
        for number in 0..versions {
            let next = after(&current, &format!("user-{number}"));
            store.publish(&next, Some(current.epoch()), Guard::default()).unwrap();
            current = next;
        }
        println!("figure: reads during {versions} publications N={}", reader.join().unwrap());
    });
}

#[test]
fn a_held_lock_ends_in_an_error_and_a_dead_holder_frees_it() {
    let (_folder, path) = folder();
    let store = FileStore::open(&path).with_lock_timeout(Duration::from_millis(50));
    let holder = File::create(beside(&path, "lock")).unwrap();
    holder.lock().unwrap();
    let refused = store.publish(&first(), None, Guard::default());
    assert!(matches!(refused, Err(StoreError::Locked { .. })), "{refused:?}");
    drop(holder);
    publish_first(&store);
}

#[test]
fn what_a_dead_publisher_left_is_harmless() {
    let (_folder, path) = folder();
    let store = FileStore::open(&path);
    let one = publish_first(&store);
    let two = after(&one, "alice");
    let whole = format::encode(&two).unwrap();
    // Died while writing, after writing, and after renaming but before the copy.
    for (left, renamed) in [(&whole[..whole.len() / 2], false), (&whole[..], false), (&whole[..], true)] {
        let (_folder, path) = folder();
        let store = FileStore::open(&path);
        publish_first(&store);
        fs::write(beside(&path, if renamed { "unused" } else { "tmp" }), left).unwrap();
        if renamed {
            fs::rename(beside(&path, "unused"), &path).unwrap();
        }
        let current = store.load().unwrap();
        assert_eq!(current, if renamed { two.clone() } else { one.clone() });
        let next = after(&current, "bob");
        store.publish(&next, Some(current.epoch()), Guard::default()).unwrap();
        assert_eq!(store.load().unwrap(), next);
        assert_eq!(fs::read(&path).unwrap(), fs::read(beside(&path, "last-good")).unwrap());
    }
}

#[test]
fn damaged_maps_are_neither_loaded_nor_published_over_but_restored() {
    let sound = format::encode(&first()).unwrap();
    let mut wrong_checksum = sound.clone();
    *wrong_checksum.last_mut().unwrap() ^= 1;
    let damages = [Vec::new(), b"garbage".to_vec(), sound[..sound.len() - 1].to_vec(), wrong_checksum];
    for damage in damages {
        let (_folder, path) = folder();
        let store = FileStore::open(&path);
        let one = publish_first(&store);
        fs::write(&path, &damage).unwrap();
        assert!(matches!(store.load(), Err(StoreError::Damaged { .. })));
        let over = store.publish(&after(&one, "alice"), Some(one.epoch()), Guard::default());
        assert!(matches!(over, Err(StoreError::Damaged { .. })), "{over:?}");
        assert_eq!(fs::read(&path).unwrap(), damage, "nothing was written");
        assert_eq!(store.restore().unwrap(), one);
        assert_eq!(store.load().unwrap(), one);
    }
}

#[test]
fn a_map_that_is_gone_is_not_begun_anew() {
    let (_folder, path) = folder();
    let store = FileStore::open(&path);
    let one = publish_first(&store);
    fs::remove_file(&path).unwrap();
    assert!(matches!(store.load(), Err(StoreError::Gone { .. })));
    assert!(matches!(store.publish(&first(), None, Guard::default()), Err(StoreError::Gone { .. })));
    assert_eq!(store.restore().unwrap(), one);
}

#[test]
fn restoring_leaves_a_sound_map_alone() {
    let (_folder, path) = folder();
    let store = FileStore::open(&path);
    let one = publish_first(&store);
    let two = after(&one, "alice");
    fs::write(&path, format::encode(&two).unwrap()).unwrap();
    assert_eq!(store.restore().unwrap(), two);
    assert_eq!(store.load().unwrap(), two);
}

#[test]
fn oversize_files_are_refused_without_reading_them() {
    let (_folder, path) = folder();
    File::create(&path).unwrap().set_len(100 << 20).unwrap();
    match FileStore::open(&path).load() {
        Err(StoreError::Damaged { error: FormatError::TooLarge { bytes, max }, .. }) => {
            assert_eq!((bytes, max), (100 << 20, 64 << 20));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_folder_in_the_maps_place_is_an_error() {
    let (_folder, path) = folder();
    fs::create_dir(&path).unwrap();
    assert!(matches!(FileStore::open(&path).load(), Err(StoreError::Io { .. })));
}
