use crate::support::{after, beside, first, folder, other_history};
use cell_map::{Admission, CellMap, Guard};
use map_store::{FileStore, MapWatch, MemoryStore, StoreError, WatchOptions, format, watch};
use std::{fs, path::Path, time::Duration};

const POLL: Duration = Duration::from_millis(5);
const PATIENCE: Duration = Duration::from_secs(10);

fn options() -> WatchOptions {
    WatchOptions { poll: POLL, snapshot: None }
}

fn put(path: &Path, map: &CellMap) {
    put_bytes(path, &format::encode(map).unwrap());
}

/// As a publisher without manners would: not through the store.
fn put_bytes(path: &Path, bytes: &[u8]) {
    let aside = beside(path, "aside");
    fs::write(&aside, bytes).unwrap();
    fs::rename(aside, path).unwrap();
}

async fn until(watch: &MapWatch, map: &CellMap) {
    let mut changes = watch.subscribe();
    let arrived = tokio::time::timeout(PATIENCE, changes.wait_for(|now| **now == *map)).await;
    assert!(arrived.is_ok(), "epoch {} never came: {watch:?}", map.epoch());
}

async fn until_alarms(watch: &MapWatch, count: u64) {
    let counted = async {
        while watch.alarms() < count {
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(PATIENCE, counted).await.expect("the alarm is raised");
}

#[tokio::test]
async fn new_versions_come_into_force() {
    let (_folder, path) = folder();
    let store = FileStore::open(&path);
    let one = first();
    store.publish(&one, None, Guard::default()).unwrap();
    let watch = watch(store.clone(), options()).await.unwrap();
    assert_eq!(*watch.current(), one);
    let mut last = one;
    for number in 0..5 {
        let next = after(&last, &format!("user-{number}"));
        store.publish(&next, Some(last.epoch()), Guard::default()).unwrap();
        until(&watch, &next).await;
        assert_eq!(**watch.load(), next);
        last = next;
    }
    assert_eq!(watch.alarms(), 0);
}

#[tokio::test]
async fn whatever_is_wrong_the_old_map_stays_and_one_alarm_is_raised() {
    let one = first();
    let two = after(&one, "alice");
    let three = after(&two, "bob");
    let sound = format::encode(&three).unwrap();
    let mut wrong_checksum = sound.clone();
    wrong_checksum[1000] ^= 1;
    let wrong: [(&str, Vec<u8>); 7] = [
        ("empty", Vec::new()),
        ("garbage", vec![7; 5000]),
        ("truncated", sound[..sound.len() - 7].to_vec()),
        ("wrong checksum", wrong_checksum),
        ("same epoch, other content", format::encode(&after(&one, "carol")).unwrap()),
        ("other incarnation", format::encode(&other_history(&two)).unwrap()),
        ("100 MiB", vec![0; 100 << 20]),
    ];
    for (what, bytes) in wrong {
        let (_folder, path) = folder();
        put(&path, &two);
        let watch = watch(FileStore::open(&path), options()).await.unwrap();
        put_bytes(&path, &bytes);
        until_alarms(&watch, 1).await;
        tokio::time::sleep(POLL * 10).await;
        assert_eq!((&*watch.current(), watch.alarms()), (&two, 1), "{what}");
        put(&path, &three);
        until(&watch, &three).await;
    }
}

#[tokio::test]
async fn an_older_epoch_is_refused_without_an_alarm() {
    let (_folder, path) = folder();
    let one = first();
    let two = after(&one, "alice");
    put(&path, &two);
    let watch = watch(FileStore::open(&path), options()).await.unwrap();
    put(&path, &one);
    tokio::time::sleep(POLL * 40).await;
    assert_eq!((&*watch.current(), watch.alarms()), (&two, 0));
}

#[tokio::test]
async fn a_map_that_goes_missing_stays_in_force() {
    let (_folder, path) = folder();
    let one = first();
    put(&path, &one);
    let watch = watch(FileStore::open(&path), options()).await.unwrap();
    fs::remove_file(&path).unwrap();
    until_alarms(&watch, 1).await;
    assert_eq!(*watch.current(), one);
    let two = after(&one, "alice");
    put(&path, &two);
    until(&watch, &two).await;
}

#[tokio::test]
async fn another_history_is_taken_once_adopted_and_never_left_for_the_old() {
    let (_folder, path) = folder();
    let one = first();
    let two = after(&one, "alice");
    put(&path, &two);
    let watch = watch(FileStore::open(&path), options()).await.unwrap();
    let mut fresh = one.next();
    fresh.begin_incarnation(one.incarnation().next()).unwrap().set_epoch(one.epoch());
    let fresh = fresh.build().unwrap();
    put(&path, &fresh);
    until_alarms(&watch, 1).await;
    assert_eq!(*watch.current(), two);
    watch.adopt(fresh.incarnation());
    until(&watch, &fresh).await;
    put(&path, &after(&two, "bob"));
    until_alarms(&watch, 2).await;
    assert_eq!(*watch.current(), fresh);
}

#[tokio::test]
async fn starting_needs_a_map_or_a_last_good_copy() {
    let (_folder, path) = folder();
    let none = watch(FileStore::open(&path), options()).await;
    assert!(matches!(none, Err(StoreError::NotFound { .. })), "{none:?}");

    let one = first();
    FileStore::open(&path).publish(&one, None, Guard::default()).unwrap();
    for damage in [Some(&b"garbage"[..]), None] {
        match damage {
            Some(bytes) => put_bytes(&path, bytes),
            None => fs::remove_file(&path).unwrap(),
        }
        let watch = watch(FileStore::open(&path), options()).await.unwrap();
        assert_eq!(*watch.current(), one);
        assert!(watch.alarms() >= 1);
    }
}

#[tokio::test]
async fn a_restart_with_a_snapshot_goes_back_to_no_older_map() {
    let (_folder, path) = folder();
    let options = || WatchOptions { snapshot: Some(beside(&path, "snapshot")), ..options() };
    let one = first();
    let two = after(&one, "alice");
    put(&path, &one);
    let before = watch(FileStore::open(&path), options()).await.unwrap();
    put(&path, &two);
    until(&before, &two).await;
    let kept = async {
        while FileStore::open(beside(&path, "snapshot")).load().ok().as_ref() != Some(&two) {
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(PATIENCE, kept).await.expect("the snapshot is written");
    drop(before);

    put(&path, &one);
    let restarted = watch(FileStore::open(&path), options()).await.unwrap();
    assert_eq!(*restarted.current(), two, "the store went back, the process does not");
    drop(restarted);

    fs::remove_file(&path).unwrap();
    let alone = watch(FileStore::open(&path), options()).await.unwrap();
    assert_eq!(*alone.current(), two, "the store is gone, the process starts all the same");
    drop(alone);

    put(&path, &two);
    put_bytes(&beside(&path, "snapshot"), b"garbage");
    assert_eq!(*watch(FileStore::open(&path), options()).await.unwrap().current(), two);
}

#[tokio::test]
async fn a_fixed_watch_takes_only_what_it_is_offered() {
    let one = first();
    let two = after(&one, "alice");
    let watch = MapWatch::fixed(one.clone());
    let mut changes = watch.subscribe();
    assert_eq!(watch.offer(two.clone()), Admission::Newer);
    assert_eq!(watch.offer(two.clone()), Admission::Same);
    assert!(matches!(watch.offer(one), Admission::Refused(_)));
    assert!(matches!(watch.offer(other_history(&two)), Admission::Refused(_)));
    assert!(changes.has_changed().unwrap());
    assert_eq!((&**changes.borrow_and_update(), watch.alarms()), (&two, 1));
}

#[tokio::test]
async fn watching_ends_with_the_last_clone() {
    let store = MemoryStore::with(first());
    let watch = watch(store.clone(), options()).await.unwrap();
    let clone = watch.clone();
    drop(watch);
    let next = after(&first(), "alice");
    store.publish(&next, Some(first().epoch()), Guard::default()).unwrap();
    until(&clone, &next).await;
    let mut changes = clone.subscribe();
    drop(clone);
    let ended = async { while changes.changed().await.is_ok() {} };
    tokio::time::timeout(PATIENCE, ended).await.expect("the task lets go of the map");
}
