//! Golden vectors: which bytes on the wire are which user (OWN-1). They never change: databases depend on them.

use crate::sources::{set, table};
use cell_map::BucketId;
use mesh_policy::PolicyTable;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, Value};
use std::sync::OnceLock;

const KINDS: [&str; 12] = [
    "int32", "int64", "uint32", "uint64", "sint32", "sint64", "fixed32", "fixed64", "sfixed32", "sfixed64", "string",
    "bytes",
];

/// `K_<kind> { <kind> key = 1; }` for each kind, and `N { I i = 3 { int64 key = 2; } }`.
fn body() -> String {
    let mark = "[(cellmesh.policy.v1.route_key) = true]";
    let rpc = |name: &str| {
        format!(
            "rpc {name}({name}) returns ({name}) {{ option (cellmesh.policy.v1.policy) = {{scope: SCOPE_USER}}; }}\n"
        )
    };
    let flat = |kind| format!("message K_{kind} {{ {kind} key = 1 {mark}; }}\n");
    let rpcs: String = KINDS.iter().map(|kind| rpc(&format!("K_{kind}"))).collect();
    let messages: String = KINDS.iter().map(flat).collect();
    let nested = format!("message N {{ message I {{ int64 key = 2 {mark}; }} I i = 3 {mark}; }}");
    format!("service S {{ {rpcs} {} }} {messages} {nested}", rpc("N"))
}

fn policies() -> &'static PolicyTable {
    static TABLE: OnceLock<PolicyTable> = OnceLock::new();
    TABLE.get_or_init(|| table(&body()).unwrap())
}

fn extract(message: &str, bytes: &[u8]) -> Option<Vec<u8>> {
    let key = policies().method(&format!("/t.S/{message}")).unwrap().route_key.as_ref().unwrap();
    key.extract(bytes).unwrap_or_else(|error| panic!("{message} {bytes:02x?}: {error}")).map(|key| key.to_vec())
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    digits.as_bytes().chunks(2).map(|d| u8::from_str_radix(std::str::from_utf8(d).unwrap(), 16).unwrap()).collect()
}

/// The vectors of cell-map, each sent through a message.
#[test]
fn every_scalar_type_has_the_key_bytes_of_cell_map() {
    let pool = DescriptorPool::decode(&*set(&body())).unwrap();
    let json: serde_json::Value = serde_json::from_str(include_str!("../../../cell-map/golden/keys.json")).unwrap();
    let mut seen = 0;
    for vector in json.as_array().unwrap() {
        let text = |name: &str| vector[name].as_str().unwrap();
        let (kind, value) = (text("kind"), text("value"));
        let value = match kind {
            "int32" | "sint32" | "sfixed32" => Value::I32(value.parse().unwrap()),
            "int64" | "sint64" | "sfixed64" => Value::I64(value.parse().unwrap()),
            "uint32" | "fixed32" => Value::U32(value.parse().unwrap()),
            "uint64" | "fixed64" => Value::U64(value.parse().unwrap()),
            "string" => Value::String(value.to_owned()),
            "bytes" => Value::Bytes(unhex(value).into()),
            other => panic!("unknown kind {other}"),
        };
        let name = format!("K_{kind}");
        let mut message = DynamicMessage::new(pool.get_message_by_name(&format!("t.{name}")).unwrap());
        message.set_field_by_name("key", value);
        let key = extract(&name, &message.encode_to_vec()).unwrap();
        assert_eq!(key, unhex(text("key")), "key bytes of {vector}");
        assert_eq!(u64::from(BucketId::of_bytes(&key).get()), vector["bucket"].as_u64().unwrap(), "bucket of {vector}");
        seen += 1;
    }
    assert_eq!(seen, 65, "no vector may be lost");
}

#[test]
fn wire_bytes_are_these_users_for_ever() {
    let vectors = [
        // One user, twelve types.
        ("K_int32", "08 07", "7"),
        ("K_int64", "08 07", "7"),
        ("K_uint32", "08 07", "7"),
        ("K_uint64", "08 07", "7"),
        ("K_sint32", "08 0e", "7"),
        ("K_sint64", "08 0e", "7"),
        ("K_fixed32", "0d 07000000", "7"),
        ("K_fixed64", "09 0700000000000000", "7"),
        ("K_sfixed32", "0d 07000000", "7"),
        ("K_sfixed64", "09 0700000000000000", "7"),
        ("K_string", "0a 01 37", "7"),
        ("K_bytes", "0a 01 37", "7"),
        // Signs and limits.
        ("K_int32", "08 ffffffffffffffffff01", "-1"),
        ("K_int64", "08 ffffffffffffffffff01", "-1"),
        ("K_uint64", "08 ffffffffffffffffff01", "18446744073709551615"),
        ("K_sint64", "08 ffffffffffffffffff01", "-9223372036854775808"),
        ("K_sint32", "08 ffffffff0f", "-2147483648"),
        ("K_sfixed32", "0d ffffffff", "-1"),
        ("K_fixed32", "0d ffffffff", "4294967295"),
        ("K_sfixed64", "09 0000000000000080", "-9223372036854775808"),
        // Padded varints, and 32-bit types in longer ones.
        ("K_int64", "08 878000", "7"),
        ("K_int64", "8800 07", "7"),
        ("K_int32", "08 8780808010", "7"),
        ("K_uint32", "08 8780808010", "7"),
        ("K_sint32", "08 8e80808010", "7"),
        // The last occurrence wins.
        ("K_int64", "08 01 08 07", "7"),
        ("K_string", "0a 01 61 0a 01 62", "b"),
        ("K_int64", "08 07 08 00", ""),
        ("K_string", "0a 01 61 0a 00", ""),
        // Occurrences of a sub-message are merged.
        ("N", "1a 02 10 07", "7"),
        ("N", "1a 02 10 07 1a 00", "7"),
        ("N", "1a 02 10 07 1a 02 10 09", "9"),
        ("N", "1a 04 10 07 10 09 1a 02 08 05", "9"),
        ("N", "1a 02 10 07 1a 02 10 00", ""),
        // Unknown fields of every wire type are passed over, whatever is in them.
        ("N", "08 07 21 0807080708070807 2a 02 0807 35 08070807 1a 02 10 07", "7"),
        ("N", "23 1a 02 10 09 2b 10 08 2c 24 1a 02 10 07 23 24", "7"),
        ("N", "fa ff ff ff 0f 01 37 1a 02 10 07", "7"),
        // Absent, empty and zero are no user.
        ("K_int64", "", ""),
        ("K_string", "0a 00", ""),
        ("K_string", "0a 01 30", ""),
        ("K_bytes", "0a 00", ""),
        ("K_fixed64", "09 0000000000000000", ""),
        ("N", "1a 00", ""),
        ("N", "10 07", ""),
    ];
    for (message, bytes, want) in vectors {
        let want = (!want.is_empty()).then(|| want.as_bytes().to_vec());
        assert_eq!(extract(message, &unhex(bytes)), want, "{message} {bytes}");
    }
}
