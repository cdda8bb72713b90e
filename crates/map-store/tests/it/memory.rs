use crate::support::{after, first, other_history};
use cell_map::Guard;
use map_store::{MapSource, MemoryStore, StoreError};

#[test]
fn memory_keeps_the_same_rules() {
    let store = MemoryStore::new();
    assert!(matches!(store.load(), Err(StoreError::NotFound { .. })));
    let one = first();
    store.publish(&one, None, Guard::default()).unwrap();
    let before = store.stamp().unwrap();
    let two = after(&one, "alice");
    store.clone().publish(&two, Some(one.epoch()), Guard::default()).unwrap();
    assert_ne!(store.stamp().unwrap(), before);
    let late = store.publish(&after(&one, "bob"), Some(one.epoch()), Guard::default());
    assert!(matches!(late, Err(StoreError::Unexpected { .. })), "{late:?}");
    let other = other_history(&two);
    let refused = store.publish(&other, Some(two.epoch()), Guard::default());
    assert!(matches!(refused, Err(StoreError::Inadmissible(_))), "{refused:?}");
    store.adopt(&other, two.epoch(), Guard::default()).unwrap();
    assert_eq!(store.load().unwrap(), other);
}
