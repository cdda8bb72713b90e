//! Extraction sees what a full decode sees.
//!
//! Messages are made from raw entropy, so that proptest can shrink them and a fuzzer can drive [`agree`] directly.

use crate::sources::set;
use mesh_policy::{CanonicalKey, ExtractError, MAX_ELEMENTS, PolicyTable, RouteKey};
use proptest::prelude::*;
use prost_reflect::{DescriptorPool, DynamicMessage, Kind, MessageDescriptor, Value};
use std::sync::OnceLock;

const KINDS: [&str; 12] = [
    "int32", "int64", "uint32", "uint64", "sint32", "sint64", "fixed32", "fixed64", "sfixed32", "sfixed64", "string",
    "bytes",
];
const SHAPES: [&str; 5] = ["Flat", "Optional", "Nested", "Many", "Items"];

/// Every shape a key may have, for one scalar type, among fields of every other kind.
fn messages(kind: &str) -> String {
    let mark = "[(cellmesh.policy.v1.route_key) = true]";
    format!(
        "message Leaf_{kind} {{ double d = 1; {kind} key = 2048 {mark}; repeated string tags = 3; }}
         message Mid_{kind} {{ fixed64 x = 1; Leaf_{kind} leaf = 16 {mark}; Leaf_{kind} other = 2; }}
         message Flat_{kind} {{ {kind} key = 1 {mark}; repeated fixed32 tail = 2; bool flag = 3; }}
         message Optional_{kind} {{ optional {kind} key = 1 {mark}; Mid_{kind} mid = 2; }}
         message Nested_{kind} {{
           string before = 1; Mid_{kind} mid = 2 {mark}; Mid_{kind} unmarked = 3; repeated sint32 packed = 4;
           map<string, Leaf_{kind}> table = 5; optional bool flag = 6; Nested_{kind} again = 7;
           oneof o {{ float f = 8; bytes b = 9; }}
           enum E {{ Z = 0; }} E e = 10;
         }}
         message Many_{kind} {{ string before = 1; repeated {kind} keys = 2 {mark}; }}
         message Items_{kind} {{ uint64 n = 1; repeated Mid_{kind} items = 7 {mark}; }}\n"
    )
}

/// The one thing that is refused though prost decodes it: a map (`Nested.table`) whose tag says something else.
const FALSE_MAP: Result<Option<CanonicalKey<'static>>, ExtractError> = Err(ExtractError::WireType { field: 5 });

struct Schema {
    table: PolicyTable,
    pool: DescriptorPool,
}

fn schema() -> &'static Schema {
    static SCHEMA: OnceLock<Schema> = OnceLock::new();
    SCHEMA.get_or_init(|| {
        let rpc = |(kind, shape): (&str, &str)| {
            let name = format!("{shape}_{kind}");
            let policy = "option (cellmesh.policy.v1.policy) = {scope: SCOPE_USER};";
            format!("rpc {name}({name}) returns ({name}) {{ {policy} }}\n")
        };
        let all = KINDS.iter().flat_map(|kind| SHAPES.iter().map(move |shape| (*kind, *shape)));
        let rpcs: String = all.map(rpc).collect();
        let messages: String = KINDS.iter().map(|kind| messages(kind)).collect();
        let bytes = set(&format!("service S {{ {rpcs} }} {messages}"));
        let table = PolicyTable::from_descriptor_sets([&*bytes]).unwrap_or_else(|errors| panic!("{errors}"));
        Schema { table, pool: DescriptorPool::decode(&*bytes).unwrap() }
    })
}

/// What a message made from entropy turned out to be.
#[derive(Debug, PartialEq, Eq)]
enum Sort {
    Undecodable,
    FalseMap,
    WithoutKey,
    WithKey,
}

/// The property: never a panic, and the same key as a full decode wherever that succeeds.
fn agree(entropy: &[u8]) -> Sort {
    let mut entropy = Entropy(entropy);
    let (kind, shape) = (KINDS[entropy.below(KINDS.len())], SHAPES[entropy.below(SHAPES.len())]);
    let name = format!("{shape}_{kind}");
    let descriptor = schema().pool.get_message_by_name(&format!("t.{name}")).unwrap();
    let message = entropy.message(&descriptor);
    let key = schema().table.method(&format!("/t.S/{name}")).unwrap().route_key.as_ref().unwrap();

    let (one, all) = (key.extract(&message), key.extract_all(&message));
    let Ok(decoded) = DynamicMessage::decode(descriptor, &*message) else { return Sort::Undecodable };
    if shape == "Nested" && one == FALSE_MAP {
        return Sort::FalseMap;
    }
    let want = decoded_keys(&decoded, key);
    let found = all.map(|keys| keys.iter().map(|key| key.to_vec()).collect::<Vec<_>>());
    assert_eq!(found, want.clone().and_then(bounded), "all keys of {name} {message:02x?}");
    let only = want.and_then(|keys| match &*keys {
        [] => Ok(None),
        [first, rest @ ..] if rest.iter().all(|key| key == first) => Ok(Some(first.clone())),
        _ => Err(ExtractError::Several),
    });
    let found = one.map(|key| key.map(|key| key.to_vec()));
    match (&only, &found) {
        // Of two faults in a list either may be met first.
        (Err(_), Err(_)) => {}
        _ => assert_eq!(found, only, "the key of {name} {message:02x?}"),
    }
    if matches!(found, Ok(None)) { Sort::WithoutKey } else { Sort::WithKey }
}

fn bounded(keys: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>, ExtractError> {
    if keys.len() > MAX_ELEMENTS as usize { Err(ExtractError::TooMany { max: MAX_ELEMENTS }) } else { Ok(keys) }
}

/// The keys of a decoded message, by walking its fields.
fn decoded_keys(message: &DynamicMessage, key: &RouteKey) -> Result<Vec<Vec<u8>>, ExtractError> {
    let names: Vec<_> = key.path().split('.').collect();
    let elements = match message.get_field_by_name(names[0]).unwrap().as_ref() {
        Value::List(list) => list.clone(),
        _ => return Ok(walk(message, &names)?.into_iter().collect()),
    };
    let element_key = |(index, element): (usize, &Value)| {
        let found = match element {
            Value::Message(inner) => walk(inner, &names[1..])?,
            scalar => canonical(scalar)?,
        };
        found.ok_or(ExtractError::EmptyElement { index })
    };
    elements.iter().enumerate().map(element_key).collect()
}

fn walk(message: &DynamicMessage, names: &[&str]) -> Result<Option<Vec<u8>>, ExtractError> {
    match (message.get_field_by_name(names[0]).unwrap().as_ref(), names) {
        (Value::Message(_), _) if !message.has_field_by_name(names[0]) => Ok(None),
        (Value::Message(inner), [_, rest @ ..]) => walk(inner, rest),
        (scalar, _) => canonical(scalar),
    }
}

fn canonical(value: &Value) -> Result<Option<Vec<u8>>, ExtractError> {
    let bytes = match value {
        Value::I32(value) => value.to_string().into_bytes(),
        Value::I64(value) => value.to_string().into_bytes(),
        Value::U32(value) => value.to_string().into_bytes(),
        Value::U64(value) => value.to_string().into_bytes(),
        Value::String(text) => text.clone().into_bytes(),
        Value::Bytes(bytes) => bytes.to_vec(),
        other => panic!("{other:?} is no key"),
    };
    match cell_map::UserKey::from_bytes(&bytes) {
        Ok(key) => Ok(Some(key.as_bytes().to_vec())),
        Err(cell_map::KeyError::Empty) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Choices are drawn from these bytes; when they run out, every choice is the simplest.
struct Entropy<'a>(&'a [u8]);

impl Entropy<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn below(&mut self, n: usize) -> usize {
        usize::from(self.byte()) % n
    }

    fn one_in(&mut self, n: u8) -> bool {
        self.byte() % n == n - 1
    }

    fn number(&mut self) -> u64 {
        match self.below(8) {
            0 => 0,
            1 => 7,
            2 => u64::MAX,
            3 => i64::MAX as u64,
            4 => u64::from(u32::MAX),
            5 => (1 << 32) + 7,
            _ => u64::from_le_bytes(std::array::from_fn(|_| self.byte())),
        }
    }

    fn text(&mut self) -> Vec<u8> {
        match self.below(12) {
            0 => Vec::new(),
            1 => b"0".to_vec(),
            2 => b"7".to_vec(),
            3 => "用户".as_bytes().to_vec(),
            4 => vec![b'x'; 255 + self.below(4)],
            5 if self.one_in(3) => vec![0xff, b'a'],
            n => vec![b'a' + n as u8; 1 + self.below(9)],
        }
    }

    fn put_varint(&mut self, mut value: u64, out: &mut Vec<u8>) {
        while value >= 0x80 {
            out.push(value as u8 | 0x80);
            value >>= 7;
        }
        if self.one_in(24) {
            // Padded; too long if the value was long already.
            out.extend([value as u8 | 0x80, 0x80, 0]);
        } else {
            out.push(value as u8);
        }
    }

    fn put_tag(&mut self, number: u32, wire: u8, out: &mut Vec<u8>) {
        self.put_varint(u64::from(number) << 3 | u64::from(wire), out);
    }

    fn put_len(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let wrong = if self.one_in(96) { 1 } else { 0 };
        self.put_varint(bytes.len() as u64 + wrong, out);
        out.extend_from_slice(bytes);
    }

    /// A message of this type, sometimes damaged.
    fn message(&mut self, of: &MessageDescriptor) -> Vec<u8> {
        let mut out = self.fields(of, 0);
        if self.one_in(6) && !out.is_empty() {
            let at = (usize::from(self.byte()) << 8 | usize::from(self.byte())) % out.len();
            match self.below(3) {
                0 => out.truncate(at),
                1 => out[at] = self.byte(),
                _ => out.insert(at, self.byte()),
            }
        }
        out
    }

    fn fields(&mut self, of: &MessageDescriptor, depth: usize) -> Vec<u8> {
        let mut out = Vec::new();
        let known: Vec<_> = of.fields().collect();
        let count = self.below(if depth < 4 { 5 } else { 1 });
        for _ in 0..count {
            if self.one_in(5) {
                self.unknown(&mut out, depth);
                continue;
            }
            let field = &known[self.below(known.len())];
            let wire = field.kind().wire_type() as u8;
            let packed = field.is_list() && wire != 2 && !self.one_in(3);
            let wrong = self.one_in(64);
            let wire = if wrong {
                self.byte() % 8
            } else if packed {
                2
            } else {
                wire
            };
            self.put_tag(field.number(), wire, &mut out);
            if packed {
                let mut elements = Vec::new();
                for _ in 0..self.below(5) {
                    self.value(&field.kind(), &mut elements, depth);
                }
                self.put_len(&elements, &mut out);
            } else {
                self.value(&field.kind(), &mut out, depth);
            }
        }
        out
    }

    fn value(&mut self, kind: &Kind, out: &mut Vec<u8>, depth: usize) {
        match kind {
            Kind::Message(inner) => {
                let bytes = self.fields(inner, depth + 1);
                self.put_len(&bytes, out);
            }
            Kind::String | Kind::Bytes => {
                let text = self.text();
                self.put_len(&text, out);
            }
            Kind::Fixed32 | Kind::Sfixed32 | Kind::Float => out.extend((self.number() as u32).to_le_bytes()),
            Kind::Fixed64 | Kind::Sfixed64 | Kind::Double => out.extend(self.number().to_le_bytes()),
            _ => {
                let number = self.number();
                self.put_varint(number, out);
            }
        }
    }

    fn unknown(&mut self, out: &mut Vec<u8>, depth: usize) {
        let number = [30, 31, 2047, 2049, (1 << 29) - 1][self.below(5)];
        let wire = [0, 1, 2, 3, 5][self.below(5)];
        self.put_tag(number, wire, out);
        match wire {
            0 => self.value(&Kind::Uint64, out, depth),
            1 => self.value(&Kind::Fixed64, out, depth),
            2 => self.value(&Kind::Bytes, out, depth),
            5 => self.value(&Kind::Fixed32, out, depth),
            _ => {
                for _ in 0..self.below(if depth < 4 { 3 } else { 1 }) {
                    self.unknown(out, depth + 1);
                }
                let wrong = u32::from(self.one_in(48));
                self.put_tag(number - wrong, 4, out);
            }
        }
    }
}

/// Entropy that looks random, from a seed (splitmix64).
fn random(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        ((mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb) >> 32) as u8
    };
    std::iter::repeat_with(&mut next).take(len).collect()
}

#[test]
fn the_generator_makes_messages_of_every_sort() {
    let sorts: Vec<_> = (0..3_000).map(|seed| agree(&random(seed, 400))).collect();
    for sort in [Sort::Undecodable, Sort::WithoutKey, Sort::WithKey] {
        let share = sorts.iter().filter(|found| **found == sort).count();
        assert!(share > 300, "only {share} of {} messages are {sort:?}", sorts.len());
    }
}

#[test]
fn deep_nesting_is_an_error_where_decoding_fails_and_never_a_panic() {
    for depth in [1, 50, 98, 99, 100, 101, 102, 10_000] {
        let again = (0..depth).fold(Vec::new(), |inner: Vec<u8>, _| {
            let mut out = vec![0x3a];
            let mut len = inner.len();
            while len >= 0x80 {
                out.push(len as u8 | 0x80);
                len >>= 7;
            }
            out.push(len as u8);
            [out, inner].concat()
        });
        let groups = [[0xf3, 0x01].repeat(depth), [0xf4, 0x01].repeat(depth)].concat();
        for message in [again, groups] {
            let descriptor = schema().pool.get_message_by_name("t.Nested_int64").unwrap();
            let key = schema().table.method("/t.S/Nested_int64").unwrap().route_key.as_ref().unwrap();
            let extracted = key.extract(&message);
            if DynamicMessage::decode(descriptor, &*message).is_ok() {
                assert_eq!(extracted, Ok(None), "depth {depth}");
            }
        }
    }
}

// `PROPTEST_CASES=2000000 cargo test -p mesh-policy agree` makes a long run.
proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn extraction_agrees_with_a_full_decode(entropy in proptest::collection::vec(any::<u8>(), 0..600)) {
        agree(&entropy);
    }

    #[test]
    fn raw_bytes_never_panic_and_agree(kind in 0..12u8, shape in 0..5u8, bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let name = format!("{}_{}", SHAPES[usize::from(shape)], KINDS[usize::from(kind)]);
        let key = schema().table.method(&format!("/t.S/{name}")).unwrap().route_key.as_ref().unwrap();
        let extracted = key.extract_all(&bytes);
        let descriptor = schema().pool.get_message_by_name(&format!("t.{name}")).unwrap();
        if let Ok(decoded) = DynamicMessage::decode(descriptor, &*bytes) {
            prop_assume!(shape != 2 || key.extract(&bytes) != FALSE_MAP);
            let found = extracted.map(|keys| keys.iter().map(|key| key.to_vec()).collect::<Vec<_>>());
            prop_assert_eq!(found, decoded_keys(&decoded, key));
        }
    }
}
