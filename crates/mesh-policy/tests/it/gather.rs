//! Which field of a single call is which field of its batch RPC.

use crate::sources::{compile, compile_own};
use mesh_policy::{Answer, Gather, Item, PolicyTable};

const KEY: &str = "[(cellmesh.policy.v1.route_key) = true]";

/// How `Get(Q) returns (A)` is gathered into `BatchGet(Qs) returns (As)`, whose items are `items` and results `results`.
fn gather(items: &str, messages: &str) -> Result<Gather, String> {
    let text = format!(
        "syntax = \"proto3\"; package t; import \"cellmesh/policy/v1/policy.proto\"; import \"google/rpc/status.proto\";
         service S {{
           rpc Get(Q) returns (A) {{
             option (cellmesh.policy.v1.policy) = {{
               scope: SCOPE_USER batch: {{rpc: \"BatchGet\" items: \"{items}\" results: \"results\" max: 9}}
             }};
           }}
           rpc BatchGet(Qs) returns (As) {{ option (cellmesh.policy.v1.policy) = {{scope: SCOPE_USER}}; }}
         }}
         message As {{ repeated R results = 1; }}
         {messages}"
    );
    let status = "syntax = \"proto3\"; package google.rpc; message Status { int32 code = 1; string message = 2; }";
    let set = compile(&[("google/rpc/status.proto", status), ("t.proto", &text)]);
    let table = PolicyTable::from_descriptor_sets([&*set]).unwrap_or_else(|errors| panic!("{errors}"));
    let batch = table.method("/t.S/Get").unwrap().batch.clone().unwrap();
    batch.gather.map_err(|errors| errors.to_string())
}

fn sound(items: &str, messages: &str) -> Gather {
    gather(items, messages).unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn the_shops_single_calls_gather() {
    let files = ["shop/catalog/v1/catalog.proto", "shop/member/v1/member.proto", "shop/trade/v1/trade.proto"];
    let set = compile_own(&files);
    let table = PolicyTable::from_descriptor_sets([&*set]).unwrap();
    let of = |path| table.method(path).unwrap().batch.clone().unwrap().gather.unwrap();
    let fields = |pairs: &[_]| Answer::Fields(pairs.to_vec());
    let member = Gather { item: Item::Field(1), shared: vec![], answer: fields(&[(1, 2)]) };
    assert_eq!(of("/shop.member.v1.MemberService/GetMember"), member);
    let order = Gather { item: Item::Field(2), shared: vec![(1, 1)], answer: fields(&[(1, 2)]) };
    assert_eq!(of("/shop.trade.v1.TradeService/GetOrder"), order);
}

#[test]
fn items_may_be_the_requests_themselves() {
    let gathered = sound(
        "requests",
        &format!(
            "message Q {{ string user = 1 {KEY}; string view = 2; }}
             message Qs {{ repeated Q requests = 3 {KEY}; }}
             message A {{ string body = 1; }}
             message R {{ oneof r {{ A answer = 1; google.rpc.Status status = 2; }} }}"
        ),
    );
    assert_eq!(gathered, Gather { item: Item::Request, shared: vec![], answer: Answer::Field(1) });
}

#[test]
fn items_may_be_a_field_in_the_plural() {
    for (plural, singular) in [("user_ids", "user_id"), ("entries", "entry"), ("boxes", "box"), ("sheep", "sheep")] {
        let gathered = sound(
            plural,
            &format!(
                "message Q {{ bytes {singular} = 1 {KEY}; optional int32 limit = 2; map<string, B> m = 3; message B {{}} }}
                 message Qs {{ optional int32 limit = 9; map<string, Q.B> m = 8; repeated bytes {plural} = 1 {KEY}; bool more = 2; }}
                 message A {{ repeated string names = 1; double weight = 2; }}
                 message R {{ int32 code = 1; double weight = 2; repeated string names = 7; }}"
            ),
        );
        let answer = Answer::Fields(vec![(1, 7), (2, 2)]);
        assert_eq!(gathered, Gather { item: Item::Field(1), shared: vec![(2, 9), (3, 8)], answer });
    }
}

#[test]
fn items_may_be_messages_of_the_same_fields() {
    let gathered = sound(
        "lines",
        &format!(
            "message Q {{ string user = 1 {KEY}; string sku = 2; int32 quantity = 3; }}
             message Line {{ int32 quantity = 1; string sku = 2; string note = 3; }}
             message Qs {{ repeated Line lines = 1; string user = 2 {KEY}; }}
             message A {{}}
             message R {{ int32 code = 1; }}"
        ),
    );
    let item = Item::Fields(vec![(2, 2), (3, 1)]);
    assert_eq!(gathered, Gather { item, shared: vec![(1, 2)], answer: Answer::Fields(vec![]) });
}

#[test]
fn what_does_not_correspond_is_told_field_by_field() {
    let at = |option: &str, fault: &str| format!("t.proto: t.S/Get: policy.batch.{option}: {fault}");
    let q = |fields: &str| format!("message Q {{ string id = 1 {KEY}; {fields} }}");
    let qs = |fields: &str| format!("message Qs {{ repeated string ids = 1 {KEY}; {fields} }}");
    let answer = "message A { string body = 1; } message R { string body = 1; int32 code = 2; }";
    let fails = |messages: &[&str]| gather("ids", &messages.join("\n")).expect_err("must not correspond");
    assert_eq!(
        fails(&[
            &q("bool full = 2; repeated int32 kinds = 3; Q again = 4; optional bool far = 5;"),
            &qs("int32 full = 2; int32 kinds = 3; bool far = 4;"),
            answer
        ]),
        [
            at(
                "items",
                "\"full\" of t.Q is needed, but no field of t.Qs has its name and type, and is optional if it is"
            ),
            at(
                "items",
                "\"kinds\" of t.Q is needed, but no field of t.Qs has its name and type, and is optional if it is"
            ),
            at(
                "items",
                "\"again\" of t.Q is needed, but no field of t.Qs has its name and type, and is optional if it is"
            ),
            at(
                "items",
                "\"far\" of t.Q is needed, but no field of t.Qs has its name and type, and is optional if it is"
            ),
        ]
        .join("\n")
    );
    assert_eq!(
        fails(&[&format!("message Q {{ int64 id = 1 {KEY}; }}"), &qs(""), answer]),
        at(
            "items",
            "\"ids\" has no like in t.Q: it must hold t.Q itself, a field of it that is named like the items in the \
             singular, or messages with fields of the same names and types"
        )
    );
    assert_eq!(
        fails(&[
            &q(""),
            &qs(""),
            "message A { string body = 1; int64 at = 2; } message R { bytes body = 1; int32 code = 2; }"
        ]),
        [
            at(
                "results",
                "\"body\" of t.A is needed, but no field of t.R has its name and type, and is optional if it is"
            ),
            at(
                "results",
                "\"at\" of t.A is needed, but no field of t.R has its name and type, and is optional if it is"
            ),
        ]
        .join("\n")
    );
    // The text of a failure is not the text of a success.
    assert_eq!(
        fails(&[
            &q(""),
            &qs(""),
            "message A { string message = 1; } message R { int32 code = 1; string message = 2; }"
        ]),
        at(
            "results",
            "\"message\" of t.A is needed, but no field of t.R has its name and type, and is optional if it is"
        )
    );
}

#[test]
fn a_batch_goes_to_the_users_of_its_single_calls() {
    let refusal = gather(
        "ids",
        &format!(
            "message Q {{ string id = 1; string user = 2 {KEY}; string owner = 3; }}
             message Qs {{ repeated string ids = 1; string user = 2; string owner = 3 {KEY}; }}
             message A {{}} message R {{ int32 code = 1; }}"
        ),
    );
    let want = "t.proto: t.S/Get: policy.batch.items: the user key \"user\" becomes \"user\" there, where the key is \
                \"owner\"";
    assert_eq!(refusal, Err(want.to_owned()));
}
