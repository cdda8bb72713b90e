//! Golden vectors: key bytes, hashes, buckets, layout and content hash stay what they are for ever, because databases
//! and maps that exist depend on them. `golden/keys.json` was computed by another implementation of XXH3, the content
//! hash by another of BLAKE3. A failure here is never fixed by changing a vector.

#![expect(clippy::unwrap_used, reason = "a test may stop at anything unexpected")]

use cell_map::{
    BucketId, Cell, CellMap, CellState, Incarnation, KeyError, KeyHash, MapDraft, MapEpoch, UserEpoch, UserKey, mint,
};
use std::time::Duration;

#[derive(Debug)]
struct Vector {
    kind: String,
    value: String,
    key: Vec<u8>,
    hash: u64,
    bucket: u16,
}

fn unhex(text: &str) -> Vec<u8> {
    text.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).expect("vectors are in hexadecimal"))
        .collect()
}

fn vectors() -> Vec<Vector> {
    let json: serde_json::Value = serde_json::from_str(include_str!("../golden/keys.json")).unwrap();
    let read = |row: &serde_json::Value| {
        let text = |name: &str| row[name].as_str().expect(name).to_owned();
        Vector {
            kind: text("kind"),
            value: text("value"),
            key: unhex(&text("key")),
            hash: u64::from_str_radix(&text("hash"), 16).unwrap(),
            bucket: row["bucket"].as_u64().unwrap().try_into().unwrap(),
        }
    };
    json.as_array().expect("a list of vectors").iter().map(read).collect()
}

fn key_of(vector: &Vector) -> UserKey {
    let Vector { kind, value, .. } = vector;
    match kind.as_str() {
        "string" => UserKey::from_text(value),
        "bytes" => UserKey::from_bytes(&unhex(value)),
        "uint32" | "uint64" | "fixed32" | "fixed64" => UserKey::from_u64(value.parse().unwrap()),
        "int32" | "int64" | "sint32" | "sint64" | "sfixed32" | "sfixed64" => UserKey::from_i64(value.parse().unwrap()),
        other => panic!("unknown kind {other}"),
    }
    .unwrap_or_else(|error| panic!("{vector:?}: {error}"))
}

#[test]
fn key_bytes_hash_and_bucket_never_change() {
    let vectors = vectors();
    assert_eq!(vectors.len(), 65, "no vector may be lost");
    for vector in vectors {
        let key = key_of(&vector);
        assert_eq!(key.as_bytes(), vector.key, "key bytes of {vector:?}");
        assert_eq!(KeyHash::of(key.as_bytes()).get(), vector.hash, "hash of {vector:?}");
        assert_eq!(BucketId::of(&key), BucketId::new(vector.bucket), "bucket of {vector:?}");
    }
}

#[test]
fn equal_integers_and_strings_are_one_user_and_others_are_not() {
    let seven = UserKey::from_i64(7).unwrap();
    assert_eq!(seven, UserKey::from_u64(7).unwrap());
    assert_eq!(seven, UserKey::from_text("7").unwrap());
    assert_eq!(seven, UserKey::from_bytes(b"7").unwrap());
    assert_ne!(seven, UserKey::from_text("07").unwrap());
    assert_ne!(UserKey::from_text("caf\u{e9}").unwrap(), UserKey::from_text("cafe\u{301}").unwrap());
}

#[test]
fn empty_zero_and_overlong_keys_are_none() {
    assert_eq!(UserKey::from_bytes(b""), Err(KeyError::Empty));
    assert_eq!(UserKey::from_text("0"), Err(KeyError::Empty));
    assert_eq!(UserKey::from_i64(0), Err(KeyError::Empty));
    assert_eq!(UserKey::from_u64(0), Err(KeyError::Empty));
    assert_eq!(UserKey::from_bytes(&[1; 257]), Err(KeyError::TooLong(257)));
    assert!(UserKey::from_bytes(&[1; 256]).is_ok());
}

/// Every field that the content hash covers, set.
fn map() -> CellMap {
    let mut draft = MapDraft::new(Incarnation::new(3));
    let cell = |id: &str, region: &str, port: u16| {
        let mut cell = Cell::new(id.parse().unwrap(), region.parse().unwrap());
        cell.peer_endpoints = vec![format!("127.0.0.1:{}", port + 2)];
        cell.front_endpoints = vec![format!("127.0.0.1:{port}"), format!("[::1]:{port}")];
        cell
    };
    let (bj, sh) = (cell("bj-1", "beijing", 7000), cell("sh-1", "shanghai", 7010));
    draft.add_cell(Cell { weight: 3, ..bj }).unwrap();
    draft.add_cell(sh).unwrap().set_global_cell(&"bj-1".parse().unwrap()).spread_buckets().unwrap();
    let (bj, sh) = ("bj-1".parse().unwrap(), "sh-1".parse().unwrap());
    let (beijing, shanghai) = ("beijing".parse().unwrap(), "shanghai".parse().unwrap());
    draft.set_cell_state(&sh, CellState::Draining).unwrap();
    draft.set_distance(&shanghai, &beijing, Duration::from_millis(30)).unwrap();
    draft.pin(UserKey::from_text("alice").unwrap(), &sh, UserEpoch::new(1)).unwrap();
    draft.pin(UserKey::from_i64(7).unwrap(), &bj, UserEpoch::new(2)).unwrap();
    draft.drop_pin(UserKey::from_bytes(&[0, 255]).unwrap(), UserEpoch::new(9)).unwrap();
    draft.set_epoch(MapEpoch::new(42)).force("golden vector");
    draft.build().unwrap()
}

#[test]
fn content_hash_never_changes() {
    assert_eq!(map().content_hash().to_string(), "43e7ab66a3aecc25396fa600f0dbd16ed8e391f1e5c5c4d898e3f1094b14cfe5");
}

#[test]
fn first_layout_never_changes() {
    let map = map();
    let home = |bucket| map.bucket_home(BucketId::new(bucket)).id.to_string();
    // Three quarters of the 57,344 minting buckets are 43,008, of the 8,192 reserved ones 6,144.
    assert_eq!(
        [home(0), home(49_150), home(49_151), home(49_152), home(65_535)],
        ["bj-1", "bj-1", "bj-1", "sh-1", "sh-1"]
    );
    let reserved: Vec<_> = (0..24).filter(|bucket| map.is_reserved(BucketId::new(*bucket))).collect();
    assert_eq!(reserved, [7, 15, 23]);
}

#[test]
fn minted_ids_of_fixed_random_numbers_never_change() {
    let mut state = 1_u64;
    let rng = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state
    };
    let id = mint(&map(), &"bj-1".parse().unwrap(), rng).unwrap();
    assert_eq!((id.text.as_str(), id.bucket.get()), ("3caxqtrgzx01y84t46pe34m6rv", 23_355));
    assert_eq!(id.key, UserKey::from_text(&id.text).unwrap());
}
