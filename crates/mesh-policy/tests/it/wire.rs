//! Bytes that are no message, and keys that are none.

use crate::sources::table;
use mesh_policy::{ExtractError, IdempotencyKey, PolicyTable, RouteKey, WireError, check_message};
use std::sync::OnceLock;

fn policies() -> &'static PolicyTable {
    static TABLE: OnceLock<PolicyTable> = OnceLock::new();
    TABLE.get_or_init(|| {
        table(
            "service S {
               rpc Text(Text) returns (Text) {
                 option (cellmesh.policy.v1.policy) = {scope: SCOPE_USER idempotency_key: \"meta.request_id\"};
               }
               rpc Deep(Deep) returns (Deep) { option (cellmesh.policy.v1.policy) = {scope: SCOPE_USER}; }
               rpc Many(Many) returns (Many) { option (cellmesh.policy.v1.policy) = {scope: SCOPE_USER}; }
               rpc Maps(Maps) returns (Maps) { option (cellmesh.policy.v1.policy) = {scope: SCOPE_USER}; }
               rpc Items(Items) returns (Items) { option (cellmesh.policy.v1.policy) = {scope: SCOPE_USER}; }
             }
             message Text { string key = 1 [(cellmesh.policy.v1.route_key) = true]; Meta meta = 2; }
             message Meta { string request_id = 1; }
             message Deep { Text text = 1 [(cellmesh.policy.v1.route_key) = true]; }
             message Many { repeated int64 keys = 1 [(cellmesh.policy.v1.route_key) = true]; }
             message Maps { map<string, string> map = 2; Many unread = 3; string key = 1 [(cellmesh.policy.v1.route_key) = true]; }
             message Items { repeated Text items = 1 [(cellmesh.policy.v1.route_key) = true]; }",
        )
        .unwrap()
    })
}

fn key(method: &str) -> &'static RouteKey {
    policies().method(&format!("/t.S/{method}")).unwrap().route_key.as_ref().unwrap()
}

fn request_id() -> &'static IdempotencyKey {
    policies().method("/t.S/Text").unwrap().idempotency_key.as_ref().unwrap()
}

#[track_caller]
fn refused(method: &str, bytes: &[u8], want: ExtractError) {
    assert_eq!(key(method).extract(bytes), Err(want), "extract from {bytes:02x?}");
    assert_eq!(key(method).extract_all(bytes), Err(want), "extract_all from {bytes:02x?}");
    // On the message's own fields the check that knows no type agrees.
    if let ("Text", ExtractError::Wire(error)) = (method, want) {
        assert_eq!(check_message(bytes), Err(error), "check_message of {bytes:02x?}");
    }
}

#[test]
fn a_truncated_message_is_refused_wherever_it_ends() {
    let whole =
        [0x15, 1, 2, 3, 4, 0x19, 1, 2, 3, 4, 5, 6, 7, 8, 0x20, 0x80, 1, 0x0a, 2, b'h', b'i', 0x2b, 0x08, 1, 0x2c];
    let field_ends = [0, 5, 14, 17, 21, 25];
    for end in 0..=whole.len() {
        let result = key("Text").extract(&whole[..end]);
        assert_eq!(check_message(&whole[..end]).is_ok(), result.is_ok(), "{end}");
        if field_ends.contains(&end) {
            assert!(result.is_ok(), "{end}: {result:?}");
        } else {
            assert_eq!(result, Err(WireError::Truncated.into()), "{end}");
        }
    }
}

#[test]
fn malformed_fields_are_refused() {
    refused("Text", &[0x00], WireError::Tag(0).into());
    refused("Text", &[0x07], WireError::Tag(7).into());
    refused("Text", &[0x0e], WireError::Tag(0x0e).into());
    refused("Text", &[0x88, 0x80, 0x80, 0x80, 0x10, 0], WireError::Tag((1 << 32) + 8).into());
    // Varints of eleven bytes, and of ten with more than 64 bits.
    refused(
        "Text",
        &[0x10, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00],
        WireError::Varint.into(),
    );
    refused("Text", &[0x10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02], WireError::Varint.into());
    // A length of 2^64 − 1.
    refused("Text", &[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], WireError::Truncated.into());
    // The inner length is within the message but past the sub-message.
    refused("Deep", &[0x0a, 2, 0x0a, 5, b'a', b'b', b'c', b'd', b'e'], WireError::Truncated.into());
    // What follows the key counts too.
    refused("Text", &[0x0a, 1, b'a', 0x10], WireError::Truncated.into());
}

#[test]
fn groups_match_and_nest_a_hundred_deep() {
    refused("Text", &[0x24], WireError::Group.into());
    refused("Text", &[0x23, 0x2c], WireError::Group.into());
    refused("Text", &[0x23, 0x08, 0x01], WireError::Truncated.into());
    let nested = |depth| [vec![0x23; depth], vec![0x24; depth]].concat();
    assert_eq!(key("Text").extract(&nested(100)), Ok(None));
    refused("Text", &nested(101), WireError::Depth.into());
    refused("Text", &vec![0x23; 1 << 20], WireError::Depth.into());
}

#[test]
fn fields_on_the_path_have_their_declared_type() {
    refused("Text", &[0x08, 7], ExtractError::WireType { field: 1 });
    refused("Text", &[0x0d, 7, 0, 0, 0], ExtractError::WireType { field: 1 });
    refused("Text", &[0x0b, 0x0c], ExtractError::WireType { field: 1 });
    refused("Deep", &[0x08, 7], ExtractError::WireType { field: 1 });
    refused("Many", &[0x0d, 7, 0, 0, 0], ExtractError::WireType { field: 1 });
    refused("Items", &[0x08, 7], ExtractError::WireType { field: 1 });
}

/// prost reads a map as length-delimited whatever its tag says: it would see `b` here, and we `a`.
#[test]
fn a_map_with_a_false_tag_cannot_hide_another_key() {
    refused("Maps", &[0x10, 3, 0x0a, 1, b'a', 0x0a, 1, b'b'], ExtractError::WireType { field: 2 });
    refused("Maps", &[0x13, 0x0a, 1, b'a', 0x14], ExtractError::WireType { field: 2 });
    assert_eq!(&*key("Maps").extract(&[0x12, 0, 0x18, 3, 0x0a, 1, b'a']).unwrap().unwrap(), b"a");
}

#[test]
fn a_string_key_is_utf8_in_every_occurrence() {
    refused("Text", &[0x0a, 1, 0xff], ExtractError::Utf8 { field: 1 });
    refused("Text", &[0x0a, 1, 0xff, 0x0a, 1, b'a'], ExtractError::Utf8 { field: 1 });
    // A surrogate, and an overlong slash.
    refused("Text", &[0x0a, 3, 0xed, 0xa0, 0x80], ExtractError::Utf8 { field: 1 });
    refused("Text", &[0x0a, 2, 0xc0, 0xaf], ExtractError::Utf8 { field: 1 });
}

#[test]
fn a_key_has_at_most_256_bytes() {
    let with_len = |len: usize| [vec![0x0a, (len & 0x7f) as u8 | 0x80, (len >> 7) as u8], vec![b'a'; len]].concat();
    assert_eq!(key("Text").extract(&with_len(256)).unwrap().unwrap().len(), 256);
    assert_eq!(
        key("Text").extract(&with_len(257)).unwrap_err().to_string(),
        "user key has 257 bytes, at most 256 are allowed"
    );
    // Only the last occurrence is a key.
    let replaced = [with_len(257), vec![0x0a, 1, b'a']].concat();
    assert_eq!(&*key("Text").extract(&replaced).unwrap().unwrap(), b"a");
}

#[test]
fn a_repeated_key_is_one_key_or_several() {
    let all =
        |bytes: &[u8]| key("Many").extract_all(bytes).map(|keys| keys.iter().map(|k| k.to_vec()).collect::<Vec<_>>());
    assert_eq!(key("Many").extract(&[]), Ok(None));
    assert_eq!(all(&[]), Ok(vec![]));
    // Packed, one by one, and both.
    for bytes in [&[0x0a, 2, 7, 7][..], &[0x08, 7, 0x08, 7], &[0x0a, 1, 7, 0x08, 7], &[0x08, 7, 0x0a, 0, 0x0a, 1, 7]] {
        assert_eq!(&*key("Many").extract(bytes).unwrap().unwrap(), b"7");
        assert_eq!(all(bytes), Ok(vec![b"7".to_vec(), b"7".to_vec()]));
    }
    assert_eq!(key("Many").extract(&[0x0a, 2, 7, 9]), Err(ExtractError::Several));
    assert_eq!(all(&[0x0a, 2, 7, 9]), Ok(vec![b"7".to_vec(), b"9".to_vec()]));
    refused("Many", &[0x0a, 2, 7, 0], ExtractError::EmptyElement { index: 1 });
    refused("Many", &[0x0a, 2, 7, 0x80], WireError::Truncated.into());
    assert_eq!(all(&[0x0a, 2, 9, 7]).unwrap()[0], b"9");
}

#[test]
fn elements_of_a_repeated_message_are_not_merged() {
    let item = |name: u8| [0x0a, 3, 0x0a, 1, name];
    let bytes = [item(b'a'), item(b'b')].concat();
    assert_eq!(key("Items").extract(&bytes), Err(ExtractError::Several));
    let keys = key("Items").extract_all(&bytes).unwrap();
    assert_eq!(keys.iter().map(|key| &**key).collect::<Vec<_>>(), [b"a", b"b"]);
    refused("Items", &[&item(b'a')[..], &[0x0a, 0]].concat(), ExtractError::EmptyElement { index: 1 });
}

#[test]
fn a_million_elements_are_refused_early() {
    let bytes = [0x08, 7].repeat(1_000_000);
    assert_eq!(key("Many").extract_all(&bytes), Err(ExtractError::TooMany { max: 1_000 }));
    assert_eq!(key("Many").extract_all(&bytes[..2_000]).unwrap().len(), 1_000);
}

#[test]
fn an_idempotency_key_has_1_to_255_bytes() {
    let with = |id: &[u8]| {
        let inner = [&[0x0a, (id.len() & 0x7f) as u8 | 0x80, (id.len() >> 7) as u8][..], id].concat();
        [&[0x12, (inner.len() & 0x7f) as u8 | 0x80, (inner.len() >> 7) as u8][..], &inner].concat()
    };
    assert_eq!(request_id().path(), "meta.request_id");
    assert_eq!(request_id().extract(&[]), Ok(None));
    assert_eq!(request_id().extract(&with(b"")), Ok(None));
    assert_eq!(request_id().extract(&with(b"0")), Ok(Some("0")));
    assert_eq!(request_id().extract(&with(&[b'x'; 255])).unwrap().unwrap().len(), 255);
    assert_eq!(request_id().extract(&with(&[b'x'; 256])), Err(ExtractError::LongIdempotencyKey(256)));
    assert_eq!(request_id().extract(&with(b"\xff")), Err(ExtractError::Utf8 { field: 1 }));
}
