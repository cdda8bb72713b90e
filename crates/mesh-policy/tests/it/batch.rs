//! Batches are split and merged without losing or mixing anything.

use crate::sources::compile;
use mesh_policy::{BatchError, BatchOf, MethodPolicy, Outcome, PolicyTable, WireError};
use proptest::prelude::*;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, Value};
use std::sync::OnceLock;

const MARK: &str = "[(cellmesh.policy.v1.route_key) = true]";

fn rpcs(name: &str, items: &str) -> String {
    let level = "option idempotency_level = NO_SIDE_EFFECTS;";
    format!(
        "rpc Get{name}(Get{name}Q) returns (A) {{
           {level}
           option (cellmesh.policy.v1.policy) = {{
             scope: SCOPE_USER batch: {{rpc: \"Batch{name}\" items: \"{items}\" results: \"results\" max: 100}}
           }};
         }}
         rpc Batch{name}(Batch{name}Q) returns (Batch{name}A) {{
           {level} option (cellmesh.policy.v1.policy) = {{scope: SCOPE_USER}};
         }}\n"
    )
}

/// A batch by string, by packed integer, by message with `google.rpc.Status`, and one of a single user.
fn body() -> String {
    format!(
        "service S {{ {} {} {} {} }}
         message A {{}}
         message GetTextQ {{ string id = 1 {MARK}; }}
         message BatchTextQ {{ string view = 1; repeated string ids = 2 {MARK}; repeated int32 flags = 3; }}
         message BatchTextA {{ repeated TextR results = 2; string cell = 1; repeated string notes = 3; }}
         message TextR {{ string id = 1; string body = 2; int32 code = 3; string message = 4; }}

         message GetIntQ {{ int64 id = 1 {MARK}; }}
         message BatchIntQ {{ repeated int64 ids = 1 {MARK}; }}
         message BatchIntA {{ repeated IntR results = 1; }}
         message IntR {{ int64 id = 1; int32 code = 2; }}

         message GetItemQ {{ Item item = 1 {MARK}; }}
         message Item {{ fixed64 user = 1 {MARK}; string what = 2; }}
         message BatchItemQ {{ repeated Item items = 5 {MARK}; }}
         message BatchItemA {{ repeated ItemR results = 9; }}
         message ItemR {{ oneof r {{ string body = 1; google.rpc.Status status = 2; }} }}

         message GetOrderQ {{ string user = 1 {MARK}; string order = 2; }}
         message BatchOrderQ {{ string user = 1 {MARK}; repeated string orders = 2; }}
         message BatchOrderA {{ repeated TextR results = 1; }}",
        rpcs("Text", "ids"),
        rpcs("Int", "ids"),
        rpcs("Item", "items"),
        rpcs("Order", "orders")
    )
}

struct Schema {
    table: PolicyTable,
    pool: DescriptorPool,
}

fn schema() -> &'static Schema {
    static SCHEMA: OnceLock<Schema> = OnceLock::new();
    SCHEMA.get_or_init(|| {
        let status = "syntax = \"proto3\"; package google.rpc; message Status { int32 code = 1; string message = 2; }";
        let head = "syntax = \"proto3\"; package t; import \"cellmesh/policy/v1/policy.proto\"; import \"google/rpc/status.proto\";";
        let set = compile(&[("google/rpc/status.proto", status), ("t.proto", &format!("{head}{}", body()))]);
        let table = PolicyTable::from_descriptor_sets([&*set]).unwrap_or_else(|errors| panic!("{errors}"));
        Schema { table, pool: DescriptorPool::decode(&*set).unwrap() }
    })
}

fn method(name: &str) -> &'static MethodPolicy {
    schema().table.method(&format!("/t.S/Batch{name}")).unwrap()
}

fn batch(name: &str) -> &'static BatchOf {
    method(name).batch_of.as_ref().unwrap()
}

fn decode(name: &str, bytes: &[u8]) -> DynamicMessage {
    DynamicMessage::decode(schema().pool.get_message_by_name(&format!("t.{name}")).unwrap(), bytes).unwrap()
}

fn text(name: &str, text: &str) -> Vec<u8> {
    let descriptor = schema().pool.get_message_by_name(&format!("t.{name}")).unwrap();
    DynamicMessage::parse_text_format(descriptor, text).unwrap().encode_to_vec()
}

fn show(name: &str, bytes: &[u8]) -> String {
    decode(name, bytes).to_text_format()
}

#[test]
fn a_batch_over_two_cells_is_one_answer_in_the_order_asked() {
    let request = text("BatchTextQ", r#"view: "full" ids: "a" ids: "b" ids: "c" ids: "a" flags: [1, 2]"#);
    let keys = method("Text").route_key.as_ref().unwrap().extract_all(&request).unwrap();
    let groups: Vec<_> = keys.iter().map(|key| usize::from(&**key != b"b")).collect();
    let split = batch("Text").split(&request, &groups).unwrap();
    let [first, second] = split.parts() else { panic!("two parts") };
    assert_eq!((first.group, &*first.positions), (1, &[0, 2, 3][..]));
    assert_eq!((second.group, &*second.positions), (0, &[1][..]));
    assert_eq!(show("BatchTextQ", &first.request), r#"view:"full",ids:["a","c","a"],flags:[1,2]"#);
    assert_eq!(show("BatchTextQ", &second.request), r#"view:"full",ids:["b"],flags:[1,2]"#);

    let answers = [
        text(
            "BatchTextA",
            r#"cell: "x" notes: "n1" results {id: "a" body: "A1"} results {id: "c" code: 5} results {id: "a" body: "A2"}"#,
        ),
        text("BatchTextA", r#"cell: "y" notes: "n2" results {id: "b" body: "B"}"#),
    ];
    let merged = split.merge(&[Outcome::Answered(&answers[0]), Outcome::Answered(&answers[1])]).unwrap();
    assert_eq!(
        show("BatchTextA", &merged),
        r#"cell:"y",results:[{id:"a",body:"A1"},{id:"b",body:"B"},{id:"c",code:5},{id:"a",body:"A2"}],notes:["n1","n2"]"#
    );
}

#[test]
fn items_of_a_cell_that_failed_say_so_themselves() {
    let failed = Outcome::Failed { code: 14, message: "cell sh-1 is unreachable" };
    let request = text("BatchTextQ", r#"ids: "a" ids: "b""#);
    let split = batch("Text").split(&request, &[0, 1]).unwrap();
    let answer = text("BatchTextA", r#"results {id: "a" body: "A"}"#);
    let merged = split.merge(&[Outcome::Answered(&answer), failed]).unwrap();
    assert_eq!(
        show("BatchTextA", &merged),
        r#"results:[{id:"a",body:"A"},{id:"b",code:14,message:"cell sh-1 is unreachable"}]"#
    );

    // No place for the message; the item is an integer.
    let request = text("BatchIntQ", "ids: [-7, 300]");
    let split = batch("Int").split(&request, &[0, 1]).unwrap();
    let merged = split.merge(&[failed, Outcome::Failed { code: 0, message: "" }]).unwrap();
    assert_eq!(show("BatchIntA", &merged), "results:[{id:-7,code:14},{id:300,code:2}]");

    // google.rpc.Status; the item is a message and is not repeated in the result.
    let request = text("BatchItemQ", r#"items {user: 7 what: "x"}"#);
    let split = batch("Item").split(&request, &[0]).unwrap();
    let merged = split.merge(&[failed]).unwrap();
    assert_eq!(show("BatchItemA", &merged), r#"results:[{status{code:14,message:"cell sh-1 is unreachable"}}]"#);
}

#[test]
fn unknown_fields_go_to_every_part_and_come_back() {
    let unknown = [0xf8, 0x07, 0x2a];
    let request = [&unknown[..], &text("BatchTextQ", r#"ids: "a" ids: "b""#)].concat();
    let split = batch("Text").split(&request, &[0, 1]).unwrap();
    for part in split.parts() {
        assert!(part.request.ends_with(&unknown));
    }
    let answer = [&unknown[..], &text("BatchTextA", "results {}")].concat();
    let merged = split.merge(&[Outcome::Answered(&answer); 2]).unwrap();
    assert!(merged.starts_with(&[unknown, unknown].concat()));
}

#[test]
fn a_service_that_loses_results_is_not_believed() {
    let request = text("BatchTextQ", r#"ids: "a" ids: "b" ids: "c""#);
    let split = batch("Text").split(&request, &[0, 1, 1]).unwrap();
    let one = text("BatchTextA", "results {}");
    let answered = Outcome::Answered(&one);
    assert_eq!(split.merge(&[answered, answered]), Err(BatchError::Results { part: 1, items: 2, results: 1 }));
    assert_eq!(split.merge(&[answered]), Err(BatchError::Outcomes { outcomes: 1, parts: 2 }));
    assert_eq!(split.merge(&[Outcome::Answered(&[0x12, 9]), answered]), Err(WireError::Truncated.into()));
    assert_eq!(split.merge(&[Outcome::Answered(&[0x10, 9]), answered]), Err(BatchError::WireType(2)));
}

#[test]
fn a_request_that_does_not_fit_is_refused() {
    let request = text("BatchIntQ", "ids: [1, 2, 3]");
    assert_eq!(batch("Int").split(&request, &[0]).unwrap_err(), BatchError::Assignment { assigned: 1, found: 3 });
    assert_eq!(batch("Int").split(&[0x0d, 1, 2, 3, 4], &[0]).unwrap_err(), BatchError::WireType(1));
    assert_eq!(batch("Int").split(&[0x0a, 1, 0x80], &[0]).unwrap_err(), WireError::Truncated.into());
    let many = text("BatchIntQ", &"ids: 1 ".repeat(101));
    assert_eq!(batch("Int").split(&many, &[0; 101]).unwrap_err(), BatchError::TooMany(100));
    let key = method("Int").route_key.as_ref().unwrap();
    assert!(key.extract_all(&many).is_err(), "the batch's max bounds the keys too");
    assert!(batch("Int").split(&[], &[]).unwrap().parts().is_empty());
}

#[test]
fn a_small_request_cannot_become_a_huge_one() {
    let request = text("BatchTextQ", &format!("view: \"{}\" {}", "x".repeat(1 << 18), "ids: \"a\" ".repeat(100)));
    let groups: Vec<usize> = (0..100).collect();
    let error = batch("Text").split(&request, &groups).unwrap_err();
    assert_eq!(error, BatchError::TooLarge { parts: 100, others: (1 << 18) + 4 });
    assert_eq!(batch("Text").split(&request, &[7; 100]).unwrap().parts().len(), 1);
}

#[test]
fn a_batch_of_one_user_has_one_key_and_many_items() {
    let request = text("BatchOrderQ", r#"user: "u" orders: "1" orders: "2""#);
    assert_eq!(&*method("Order").route_key.as_ref().unwrap().extract(&request).unwrap().unwrap(), b"u");
    let split = batch("Order").split(&request, &[0, 0]).unwrap();
    assert_eq!(show("BatchOrderQ", &split.parts()[0].request), r#"user:"u",orders:["1","2"]"#);
}

proptest! {
    #[test]
    fn splitting_and_merging_is_the_same_as_asking_once(
        ids in proptest::collection::vec((-3i64..300, 0..4usize), 0..40), failing in 0..6usize, packed: bool,
    ) {
        let (values, groups): (Vec<i64>, Vec<usize>) = ids.into_iter().unzip();
        let request = if packed {
            let list: Vec<_> = values.iter().map(ToString::to_string).collect();
            text("BatchIntQ", &format!("ids: [{}]", list.join(",")))
        } else {
            values.iter().flat_map(|id| {
                let mut out = vec![0x08];
                prost::encoding::encode_varint(*id as u64, &mut out);
                out
            }).collect()
        };
        let split = batch("Int").split(&request, &groups).unwrap();
        // A service that answers each id by itself.
        let answers: Vec<Vec<u8>> = split.parts().iter().map(|part| {
            let asked = decode("BatchIntQ", &part.request);
            let ids = asked.get_field_by_name("ids").unwrap().as_list().unwrap().to_vec();
            assert_eq!(ids.len(), part.positions.len());
            let results: Vec<_> = ids.iter().map(|id| format!("results {{id: {}}}", id.as_i64().unwrap())).collect();
            text("BatchIntA", &results.join(" "))
        }).collect();
        let outcomes: Vec<_> = split.parts().iter().zip(&answers).map(|(part, answer)| {
            if part.group == failing { Outcome::Failed { code: 14, message: "" } } else { Outcome::Answered(answer) }
        }).collect();
        let merged = decode("BatchIntA", &split.merge(&outcomes).unwrap());
        let results = merged.get_field_by_name("results").unwrap().as_list().unwrap().to_vec();
        prop_assert_eq!(results.len(), values.len());
        for ((result, id), group) in results.iter().zip(&values).zip(&groups) {
            let result = result.as_message().unwrap();
            prop_assert_eq!(result.get_field_by_name("id").unwrap().into_owned(), Value::I64(*id));
            let code = if *group == failing { 14 } else { 0 };
            prop_assert_eq!(result.get_field_by_name("code").unwrap().into_owned(), Value::I32(code));
        }
    }

    #[test]
    fn hostile_batches_do_not_panic(
        request in proptest::collection::vec(any::<u8>(), 0..60), response in proptest::collection::vec(any::<u8>(), 0..60),
        groups in proptest::collection::vec(0..3usize, 0..5),
    ) {
        for name in ["Text", "Int", "Item", "Order"] {
            if let Ok(split) = batch(name).split(&request, &groups) {
                let outcomes = vec![Outcome::Answered(&response); split.parts().len()];
                let _ = split.merge(&outcomes);
            }
        }
    }
}
