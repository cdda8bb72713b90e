use crate::support::{after, first};
use map_store::{
    FormatError,
    format::{MAX_BYTES, decode, encode},
};

const HEADER: usize = 52;

fn stored() -> Vec<u8> {
    encode(&after(&first(), "alice")).unwrap()
}

/// A header that is right about `body`.
fn sealed(body: &[u8]) -> Vec<u8> {
    let mut bytes = b"CELLMAP\n\x01\0\0\0".to_vec();
    bytes.extend_from_slice(&(body.len() as u64).to_le_bytes());
    bytes.extend_from_slice(blake3::hash(body).as_bytes());
    bytes.extend_from_slice(body);
    bytes
}

#[test]
fn a_stored_map_is_read_back() {
    let map = after(&first(), "alice");
    let read = decode(&encode(&map).unwrap()).unwrap();
    assert_eq!(read.content_hash(), map.content_hash());
    assert_eq!(sealed(&stored()[HEADER..]), stored(), "the header is the documented one");
}

#[test]
fn every_truncation_is_refused() {
    let bytes = stored();
    assert!(matches!(decode(&[]), Err(FormatError::Empty)));
    for length in (1..200).chain((200..bytes.len()).step_by(997)) {
        let error = decode(&bytes[..length]).unwrap_err();
        assert!(matches!(error, FormatError::Magic | FormatError::Length { .. }), "{length}: {error}");
    }
}

#[test]
fn every_flipped_byte_is_refused() {
    let bytes = stored();
    for place in (0..200).chain((200..bytes.len()).step_by(997)) {
        let mut damaged = bytes.clone();
        damaged[place] ^= 0x10;
        let error = decode(&damaged).unwrap_err();
        let expected = match place {
            0..8 => matches!(error, FormatError::Magic),
            8..12 => matches!(error, FormatError::Version { known: 1, .. }),
            12..20 => matches!(error, FormatError::Length { .. }),
            _ => matches!(error, FormatError::Checksum),
        };
        assert!(expected, "{place}: {error}");
    }
}

#[test]
fn appended_bytes_are_refused() {
    let mut bytes = stored();
    bytes.push(0);
    assert!(matches!(decode(&bytes), Err(FormatError::Length { .. })));
}

#[test]
fn sealed_garbage_is_refused() {
    assert!(matches!(decode(&sealed(&[0xff; 40])), Err(FormatError::Protobuf(_))));
    assert!(matches!(decode(&sealed(&[])), Err(FormatError::Map(_))), "an empty message is no map");
    let mut huge_length = sealed(&[]);
    huge_length[12..20].fill(0xff);
    assert!(matches!(decode(&huge_length), Err(FormatError::Length { want: u64::MAX, .. })));
}

#[test]
fn resealed_damage_is_an_error_or_another_right_map() {
    let body = &stored()[HEADER..];
    let places: Vec<_> = (0..120).step_by(3).chain((120..body.len()).step_by(4999)).collect();
    for place in &places {
        let mut damaged = body.to_vec();
        damaged[*place] ^= 0x41;
        if let Ok(map) = decode(&sealed(&damaged)) {
            assert_eq!(decode(&encode(&map).unwrap()).unwrap(), map, "byte {place}");
        }
    }
    println!("figure: resealed damages N={}", places.len());
}

#[test]
fn oversize_is_refused_before_it_is_parsed() {
    let bytes = vec![0; usize::try_from(MAX_BYTES).unwrap() + 1];
    assert!(matches!(decode(&bytes), Err(FormatError::TooLarge { .. })));
}
