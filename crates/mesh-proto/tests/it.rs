//! The promises of mesh-proto.
#![allow(clippy::unwrap_used, reason = "a test may stop at anything unexpected")]

use cell_map::{Cell, CellId, CellMap, CellState, Incarnation, MapDraft, RegionId, UserEpoch, UserKey};
use mesh_proto::convert::MapMessageError;
use mesh_proto::{FILE_DESCRIPTOR_SET, map_v1};
use proptest::prelude::*;
use prost::Message;
use prost_reflect::DescriptorPool;
use std::time::Duration;

fn id(name: &str) -> CellId {
    CellId::new(name).unwrap()
}

fn map() -> CellMap {
    let (beijing, shanghai) = (RegionId::new("beijing").unwrap(), RegionId::new("shanghai").unwrap());
    let mut draft = MapDraft::new(Incarnation::new(3));
    let mut bj = Cell::new(id("bj-1"), beijing.clone());
    bj.peer_endpoints = vec!["127.0.0.1:7002".to_owned()];
    bj.front_endpoints = vec!["127.0.0.1:7000".to_owned(), "127.0.0.1:7001".to_owned()];
    bj.weight = 5;
    let mut sh = Cell::new(id("sh-1"), shanghai.clone());
    draft.add_cell(bj).unwrap().add_cell(sh.clone()).unwrap();
    draft.spread_buckets().unwrap().set_global_cell(&id("bj-1"));
    sh.state = CellState::Draining;
    draft.set_cell(sh).unwrap();
    draft.set_distance(&beijing, &shanghai, Duration::from_millis(30)).unwrap();
    draft.add_pin(UserKey::from_text("anna").unwrap(), Some(&id("sh-1")), UserEpoch::new(4)).unwrap();
    draft.add_pin(UserKey::from_bytes(&[0, 255]).unwrap(), None, UserEpoch::new(9)).unwrap();
    draft.force("moved the data centre");
    draft.build().unwrap()
}

fn message() -> map_v1::CellMap {
    (&map()).into()
}

fn refusal(change: impl FnOnce(&mut map_v1::CellMap)) -> MapMessageError {
    let mut message = message();
    change(&mut message);
    CellMap::try_from(message).map(|map| map.epoch()).unwrap_err()
}

#[test]
fn a_map_survives_the_wire() {
    let map = map();
    let bytes = map_v1::CellMap::from(&map).encode_to_vec();
    let back = CellMap::try_from(map_v1::CellMap::decode(&*bytes).unwrap()).unwrap();
    assert_eq!(back.content_hash(), map.content_hash());
    assert_eq!(map_v1::CellMap::from(&back).encode_to_vec(), bytes, "equal maps must have equal bytes");
}

#[test]
fn a_refusal_names_the_field() {
    let texts = [
        (refusal(|m| m.cells[1].state = 0), "cells[1].state: 0 is no state of a cell; CELL_STATE_ACTIVE (1)"),
        (refusal(|m| m.cells[1].state = 7), "cells[1].state: 7 is no state"),
        (refusal(|m| m.cells[0].id = "Bj 1".to_owned()), "cells[0].id: cell \"Bj 1\" is not a name"),
        (refusal(|m| m.cells[0].region.clear()), "cells[0].region: region \"\" is not a name"),
        (refusal(|m| m.distances[0].to = "?".to_owned()), "distances[0].to: region \"?\" is not a name"),
        (refusal(|m| m.global_cell = "no-1".to_owned()), "\"no-1\""),
        (refusal(|m| m.global_cell.clear()), "no global cell"),
        (refusal(|m| m.reserved_buckets.clear()), "reserved buckets have 0 bytes"),
        (refusal(|m| m.bucket_cells[1] = 1), "bucket 0 is homed in cell number"),
        (refusal(|m| m.bucket_cells.truncate(3)), "bucket table has 3 bytes"),
        (refusal(|m| m.epoch = 0), "no epoch"),
        (refusal(|m| m.incarnation = 0), "no incarnation"),
    ];
    for (error, want) in texts {
        assert!(error.to_string().contains(want), "{error} does not say {want:?}");
    }
}

#[test]
fn a_pin_is_a_home_or_a_tombstone() {
    let pinned = message().pins.iter().position(|pin| !pin.tombstone).unwrap();
    let dropped = message().pins.iter().position(|pin| pin.tombstone).unwrap();
    let texts = [
        (refusal(|m| m.pins[pinned].cell.clear()), format!("pins[{pinned}].cell: cell \"\" is not a name")),
        (refusal(|m| m.pins[pinned].user_key = b"0".to_vec()), format!("pins[{pinned}].user_key: user key is empty")),
        (refusal(|m| m.pins[pinned].user_epoch = 0), "user epoch 0".to_owned()),
        (
            refusal(|m| m.pins[dropped].cell = "bj-1".to_owned()),
            format!("pins[{dropped}].cell: a tombstone names no cell, this one names \"bj-1\""),
        ),
        (refusal(|m| m.pins.push(m.pins[pinned].clone())), "pinned twice".to_owned()),
    ];
    for (error, want) in texts {
        assert!(error.to_string().contains(&want), "{error} does not say {want:?}");
    }
}

#[test]
fn descriptor_set_keeps_options_and_imports() {
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
    let policy = pool.get_extension_by_name("cellmesh.policy.v1.policy").unwrap();
    for (name, methods) in [("ControlService", 3), ("MapService", 2), ("MapAdminService", 1)] {
        let service = pool.get_service_by_name(&format!("cellmesh.control.v1.{name}")).unwrap();
        assert_eq!(service.methods().len(), methods);
        for method in service.methods() {
            assert!(method.options().has_extension(&policy), "{} lost its policy", method.name());
        }
    }
    assert!(pool.get_file_by_name("google/protobuf/descriptor.proto").is_some());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Any bytes are a map or an error.
    #[test]
    fn hostile_messages_do_not_panic(
        at in 0..400usize, cut in 0..500usize, byte: u8, tail in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut message = message();
        // Small fields first, so that the mutation hits them.
        let buckets = std::mem::take(&mut message.bucket_cells);
        let mut bytes = message.encode_to_vec();
        let len = bytes.len();
        bytes[at % len] = byte;
        if cut < 100 {
            bytes.truncate(cut);
        }
        bytes.extend(tail);
        if let Ok(mut message) = map_v1::CellMap::decode(&*bytes) {
            message.bucket_cells = buckets;
            if let Ok(map) = CellMap::try_from(message) {
                let again = CellMap::try_from(map_v1::CellMap::from(&map)).unwrap();
                prop_assert_eq!(again.content_hash(), map.content_hash());
            }
        }
    }
}
