//! What a sound descriptor set says.

use crate::sources::{compile, compile_own, set, table};
use mesh_policy::{Criticality, Idempotency, PolicyTable, Scope};
use prost_reflect::DescriptorPool;
use std::time::Duration;

fn own() -> PolicyTable {
    let shop = ["campaign", "catalog", "follow", "member", "trade"].map(|s| format!("shop/{s}/v1/{s}.proto"));
    let shop: Vec<_> = shop.into_iter().chain(["shop/trade/v1/pricing.proto".to_owned()]).collect();
    let shop = compile_own(&shop);
    let mesh = compile_own(&["cellmesh/control/v1/control.proto", "cellmesh/control/v1/map_admin.proto"]);
    PolicyTable::from_descriptor_sets([&*shop, &*mesh]).unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn our_own_protos_are_sound_and_wholly_annotated() {
    let table = own();
    assert_eq!(table.unannotated().collect::<Vec<_>>(), [""; 0]);
    assert_eq!(
        table.services().collect::<Vec<_>>(),
        [
            "cellmesh.control.v1.ControlService",
            "cellmesh.control.v1.MapAdminService",
            "cellmesh.control.v1.MapService",
            "shop.campaign.v1.CampaignReplicationService",
            "shop.campaign.v1.CampaignService",
            "shop.catalog.v1.CatalogReplicationService",
            "shop.catalog.v1.CatalogService",
            "shop.follow.v1.FollowService",
            "shop.member.v1.ActivityService",
            "shop.member.v1.MemberService",
            "shop.trade.v1.PricingService",
            "shop.trade.v1.StockService",
            "shop.trade.v1.TradeService",
        ]
    );
    for method in table.methods() {
        assert_eq!(method.scope == Scope::User, method.route_key.is_some(), "{}", method.path);
    }
}

#[test]
fn a_policy_holds_what_the_proto_says() {
    let table = own();
    let place = table.method("/shop.trade.v1.TradeService/PlaceOrder").unwrap();
    assert_eq!(place.scope, Scope::User);
    assert_eq!(place.criticality, Criticality::Core);
    assert_eq!(place.default_deadline, Some(Duration::from_secs(5)));
    assert_eq!(place.max_deadline, None);
    assert_eq!(place.max_request_bytes, Some(65_536));
    assert_eq!(place.side_effects, Idempotency::Idempotent);
    assert!(!place.client_streaming && !place.server_streaming);
    assert_eq!(place.route_key.as_ref().unwrap().path(), "user_id");
    assert_eq!(place.idempotency_key.as_ref().unwrap().path(), "request_id");
    assert_eq!(place.request, "shop.trade.v1.PlaceOrderRequest");
    assert!(table.method("/shop.catalog.v1.CatalogReplicationService/Subscribe").unwrap().server_streaming);
    assert!(table.method("/shop.trade.v1.TradeService/None").is_none());
    assert!(table.method("shop.trade.v1.TradeService/PlaceOrder").is_none());
}

#[test]
fn a_batch_is_known_from_both_sides() {
    let table = own();
    let single = table.method("/shop.member.v1.MemberService/GetMember").unwrap();
    let batch = single.batch.as_ref().unwrap();
    assert_eq!(batch.path, "/shop.member.v1.MemberService/BatchGetMembers");
    assert_eq!((batch.items, batch.results, batch.max), (1, 1, 100));
    let many = table.method(&batch.path).unwrap();
    assert_eq!(many.batch_of.as_ref().unwrap().single(), single.path);
    assert!(many.route_key.as_ref().unwrap().is_repeated());
    // Here all items are one user's.
    let orders = table.method("/shop.trade.v1.TradeService/BatchGetOrders").unwrap();
    assert!(!orders.route_key.as_ref().unwrap().is_repeated());
    assert_eq!(orders.batch_of.as_ref().unwrap().items(), 2);
}

#[test]
fn a_method_without_policy_is_known_but_not_routed() {
    let table = table(
        "service S {
           rpc Bare(Q) returns (Q);
           rpc Level(Q) returns (Q) { option idempotency_level = NO_SIDE_EFFECTS; }
           rpc Good(Q) returns (Q) { option (cellmesh.policy.v1.policy) = {scope: SCOPE_LOCAL}; }
         }
         message Q {}",
    )
    .unwrap();
    let mut bare: Vec<_> = table.unannotated().collect();
    bare.sort_unstable();
    assert_eq!(bare, ["/t.S/Bare", "/t.S/Level"]);
    assert!(table.is_unannotated("/t.S/Bare") && table.method("/t.S/Bare").is_none());
    assert!(!table.is_unannotated("/t.S/Good") && !table.is_unannotated("/t.S/None"));
}

#[test]
fn a_set_that_never_heard_of_us_has_no_policies() {
    let set = compile(&[("x.proto", "syntax = \"proto3\"; service S { rpc M(Q) returns (Q); } message Q {}")]);
    let table = PolicyTable::from_descriptor_sets([&*set]).unwrap();
    assert!(table.is_unannotated("/S/M"));
    assert_eq!(table.services().collect::<Vec<_>>(), ["S"]);
}

#[test]
fn a_user_method_may_leave_its_key_to_metadata() {
    let table = table(
        "service S {
           rpc Unary(Q) returns (Q) { option (cellmesh.policy.v1.policy) = {scope: SCOPE_USER}; }
           rpc Stream(stream Q) returns (Q) { option (cellmesh.policy.v1.policy) = {scope: SCOPE_USER}; }
         }
         message Q { string text = 1; }",
    )
    .unwrap();
    assert!(table.methods().all(|method| method.route_key.is_none()));
}

#[test]
fn every_option_reaches_the_table() {
    let table = table(
        "service S { rpc M(Q) returns (Q) {
           option idempotency_level = NO_SIDE_EFFECTS;
           option (cellmesh.policy.v1.policy) = {
             scope: SCOPE_REPLICATED criticality: CRITICALITY_NON_CORE max_deadline_ms: 7 rate_class: \"reads\"
             cache: {ttl_ms: 60000 key_fields: [\"a\"] tags: [\"t:{a}\"] negative_ttl_ms: 5}
             hedge: {max_extra_permille: 50} local_logic: {name: \"price\" major: 2}
           };
         } }
         message Q { string a = 1; }",
    )
    .unwrap();
    let method = table.method("/t.S/M").unwrap();
    assert_eq!(method.criticality, Criticality::NonCore);
    assert_eq!(method.max_deadline, Some(Duration::from_millis(7)));
    assert_eq!(method.rate_class.as_deref(), Some("reads"));
    let cache = method.cache.as_ref().unwrap();
    assert_eq!((cache.ttl, cache.negative_ttl), (Duration::from_secs(60), Some(Duration::from_millis(5))));
    assert_eq!((&*cache.key_fields, &*cache.tags), (&["a".to_owned()][..], &["t:{a}".to_owned()][..]));
    assert_eq!(method.hedge.unwrap().max_extra_permille, 50);
    let logic = method.local_logic.as_ref().unwrap();
    assert_eq!((&*logic.name, logic.major), ("price", 2));
}

#[test]
fn reflection_serves_every_file_once_with_its_options() {
    let table = own();
    let pool = DescriptorPool::decode(table.file_descriptor_set_bytes()).unwrap();
    let names: Vec<_> = pool.files().map(|file| file.name().to_owned()).collect();
    for file in ["google/protobuf/descriptor.proto", "cellmesh/policy/v1/policy.proto", "shop/trade/v1/trade.proto"] {
        assert_eq!(names.iter().filter(|name| *name == file).count(), 1, "{file} in {names:?}");
    }
    let policy = pool.get_extension_by_name("cellmesh.policy.v1.policy").unwrap();
    for method in pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()) {
        assert!(method.options().has_extension(&policy), "{} lost its policy", method.full_name());
    }
}

#[test]
fn sets_with_their_own_versions_of_common_files_fit_together() {
    // Another team's compiler ships a shorter policy.proto, from before hedging.
    let older = include_str!("../../../../proto/cellmesh/policy/v1/policy.proto")
        .replace("HedgePolicy hedge = 9;", "")
        .replace("uint32 max_extra_permille = 1;", "");
    let text = "syntax = \"proto3\"; package u; import \"cellmesh/policy/v1/policy.proto\"; message Q {}
         service S { rpc M(Q) returns (Q) { option (cellmesh.policy.v1.policy) = {scope: SCOPE_LOCAL}; } }";
    let theirs = compile(&[("cellmesh/policy/v1/policy.proto", &older), ("u.proto", text)]);
    let ours = set("service S { rpc M(Q) returns (Q) { option (cellmesh.policy.v1.policy) = {scope: SCOPE_GLOBAL}; } }
         message Q {}");
    for sets in [[&*theirs, &*ours], [&*ours, &*theirs]] {
        let table = PolicyTable::from_descriptor_sets(sets).unwrap();
        assert_eq!(table.methods().len(), 2);
        let pool = DescriptorPool::decode(table.file_descriptor_set_bytes()).unwrap();
        let policy = pool.get_message_by_name("cellmesh.policy.v1.MethodPolicy").unwrap();
        assert!(policy.get_field_by_name("hedge").is_some(), "the version that knows more is served");
    }
}
