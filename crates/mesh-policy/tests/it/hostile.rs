//! Descriptor sets may be anything.

use crate::sources::set;
use mesh_policy::PolicyTable;
use proptest::prelude::*;
use std::sync::OnceLock;

/// A set that uses every option.
fn sound() -> &'static [u8] {
    static SET: OnceLock<Vec<u8>> = OnceLock::new();
    SET.get_or_init(|| {
        set("service S {
               rpc Get(Q) returns (A) {
                 option idempotency_level = NO_SIDE_EFFECTS;
                 option (cellmesh.policy.v1.policy) = {
                   scope: SCOPE_USER criticality: CRITICALITY_CORE idempotency_key: \"request_id\"
                   batch: {rpc: \"BatchGet\" items: \"keys\" results: \"results\" max: 10}
                   cache: {ttl_ms: 10 key_fields: [\"key\"] tags: [\"t:{key.user}\"]}
                   hedge: {max_extra_permille: 50} local_logic: {name: \"n\" major: 1} rate_class: \"r\"
                 };
               }
               rpc BatchGet(Qs) returns (As) {
                 option idempotency_level = NO_SIDE_EFFECTS;
                 option (cellmesh.policy.v1.policy) = {scope: SCOPE_USER};
               }
             }
             message Key { int64 user = 1 [(cellmesh.policy.v1.route_key) = true]; }
             message Q { Key key = 1 [(cellmesh.policy.v1.route_key) = true]; string request_id = 2; }
             message A {}
             message Qs { repeated Key keys = 1 [(cellmesh.policy.v1.route_key) = true]; }
             message As { repeated R results = 1; }
             message R { int32 code = 1; }")
    })
}

#[test]
fn the_undamaged_set_is_sound() {
    assert_eq!(PolicyTable::from_descriptor_sets([sound()]).unwrap().methods().len(), 2);
}

proptest! {
    /// The file under test is the last of the set: damage falls there.
    #[test]
    fn damaged_sets_are_refused_or_read_but_never_panic(
        damage in proptest::collection::vec((0..900usize, any::<u8>()), 1..4), cut in proptest::option::of(0..900usize),
    ) {
        let mut bytes = sound().to_vec();
        let len = bytes.len();
        for (from_end, byte) in damage {
            bytes[len - 1 - from_end % len] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(len - cut % len);
        }
        let _ = PolicyTable::from_descriptor_sets([&*bytes]);
    }
}
