//! Inconsistent policies are refused, naming file, method and option.

use crate::sources::{compile, set, table};
use mesh_policy::{PolicyErrors, PolicyTable};

/// All faults of a service `S` with one method `M`, whose policy and request are given.
fn method(options: &str, request: &str) -> String {
    refusal(&format!(
        "service S {{ rpc M(Q) returns (A) {{ {options} }} }}
         message A {{}}
         message Q {{ {request} }}"
    ))
}

fn policy(policy: &str, request: &str) -> String {
    method(&format!("option (cellmesh.policy.v1.policy) = {{{policy}}};"), request)
}

fn refusal(body: &str) -> String {
    table(body).map(|_| "accepted").map_err(|errors| errors.to_string()).expect_err("must be refused")
}

const KEY: &str = "[(cellmesh.policy.v1.route_key) = true]";

#[track_caller]
fn says(refusal: &str, want: &str) {
    assert_eq!(refusal, want);
}

#[test]
fn a_scope_is_needed_and_known() {
    let want = "t.proto: t.S/M: policy.scope: not set; one of SCOPE_USER, SCOPE_GLOBAL, SCOPE_REPLICATED and \
                SCOPE_LOCAL is needed";
    says(&policy("rate_class: \"reads\"", ""), want);
    says(&policy("", ""), want);
    // Known to a newer policy.proto only.
    let newer = include_str!("../../../../proto/cellmesh/policy/v1/policy.proto")
        .replace("SCOPE_LOCAL = 4;", "SCOPE_LOCAL = 4; SCOPE_NEW = 5;")
        .replace("string rate_class = 11;", "string rate_class = 11; uint32 budget = 12;");
    let newer = |policy: &str| {
        let text = format!(
            "syntax = \"proto3\"; package t; import \"cellmesh/policy/v1/policy.proto\"; message Q {{}}
             service S {{ rpc M(Q) returns (Q) {{ option (cellmesh.policy.v1.policy) = {{{policy}}}; }} }}"
        );
        let set = compile(&[("cellmesh/policy/v1/policy.proto", &newer), ("t.proto", &text)]);
        PolicyTable::from_descriptor_sets([&*set]).unwrap_err().to_string()
    };
    says(
        &newer("scope: SCOPE_NEW"),
        "t.proto: t.S/M: policy.scope: 5 is not a value known to this version of the mesh",
    );
    says(
        &newer("scope: SCOPE_LOCAL budget: 3"),
        "t.proto: t.S/M: policy: \"budget\" is not known to this version of the mesh",
    );
}

#[test]
fn a_key_is_a_string_bytes_or_an_integer() {
    for kind in ["bool", "float", "double"] {
        says(
            &policy("scope: SCOPE_USER", &format!("{kind} user = 1 {KEY};")),
            &format!("t.proto: t.S/M: route_key: \"user\" is {kind}, a string, bytes or an integer is needed"),
        );
    }
    says(
        &policy("scope: SCOPE_USER", &format!("enum E {{ Z = 0; }} E user = 1 {KEY};")),
        "t.proto: t.S/M: route_key: \"user\" is enum t.Q.E, a string, bytes or an integer is needed",
    );
}

#[test]
fn a_request_has_one_key() {
    says(
        &policy("scope: SCOPE_USER", &format!("string a = 1 {KEY}; int64 b = 2 {KEY};")),
        "t.proto: t.S/M: route_key: t.Q marks several fields: a, b; exactly one may hold the key",
    );
    says(
        &policy(
            "scope: SCOPE_USER",
            &format!("message I {{ string a = 1 {KEY}; string b = 2 {KEY}; }} I i = 1 {KEY};"),
        ),
        "t.proto: t.S/M: route_key: t.Q.I marks several fields: a, b; exactly one may hold the key",
    );
}

#[test]
fn marks_lead_to_the_key_without_gaps() {
    says(
        &policy("scope: SCOPE_USER", &format!("message I {{ string a = 1; }} I i = 1 {KEY};")),
        "t.proto: t.S/M: route_key: \"i\" is marked, but t.Q.I marks no field",
    );
    says(
        &policy("scope: SCOPE_USER", &format!("message I {{ string a = 1 {KEY}; }} I i = 1;")),
        "t.proto: t.S/M: route_key: \"i.a\" is marked, but \"i\" on the way to it is not: mark it too",
    );
}

#[test]
fn a_key_is_where_its_last_occurrence_is_its_value() {
    let place = |request: &str| policy("scope: SCOPE_USER", request);
    let says_place = |request: &str, path: &str, found: &str| {
        let want = format!("t.proto: t.S/M: route_key: \"{path}\" is {found}, where a key cannot be");
        says(&place(request), &want);
    };
    says_place(&format!("map<string, string> m = 1 {KEY};"), "m", "a map");
    says_place(&format!("oneof o {{ string a = 1 {KEY}; string b = 2; }}"), "a", "in a oneof");
    says_place(
        &format!("message I {{ string a = 1 {KEY}; }} oneof o {{ I i = 1 {KEY}; string b = 2; }}"),
        "i",
        "in a oneof",
    );
    let circle = "i".to_owned() + &".q".repeat(31);
    says_place(&format!("message I {{ I q = 1 {KEY}; }} I i = 1 {KEY};"), &circle, "a message that contains itself");
    says(
        &place(&format!("message I {{ repeated string a = 1 {KEY}; }} I i = 1 {KEY};")),
        "t.proto: t.S/M: route_key: \"i.a\" is repeated; only a field of the request itself may be, so that a batch \
         can be split",
    );
    let proto2 = compile(&[(
        "t.proto",
        &format!(
            "syntax = \"proto2\"; package t; import \"cellmesh/policy/v1/policy.proto\";
             service S {{
               rpc Default(D) returns (D) {{ option (cellmesh.policy.v1.policy) = {{scope: SCOPE_USER}}; }}
               rpc Group(G) returns (G) {{ option (cellmesh.policy.v1.policy) = {{scope: SCOPE_USER}}; }}
             }}
             message D {{ optional int64 user = 1 [(cellmesh.policy.v1.route_key) = true, default = 7]; }}
             message G {{ optional group I = 1 {KEY} {{ optional int64 user = 1 {KEY}; }} }}"
        ),
    )]);
    says(
        &PolicyTable::from_descriptor_sets([&*proto2]).unwrap_err().to_string(),
        "t.proto: t.S/Default: route_key: \"user\" is a field with a default, where a key cannot be\n\
         t.proto: t.S/Group: route_key: \"i\" is a group, where a key cannot be",
    );
}

#[test]
fn only_user_methods_have_a_key_and_only_one_message_names_it() {
    for scope in ["GLOBAL", "REPLICATED", "LOCAL"] {
        says(
            &policy(&format!("scope: SCOPE_{scope}"), &format!("string user = 1 {KEY};")),
            "t.proto: t.S/M: route_key: \"user\" is marked, but only SCOPE_USER has a key",
        );
    }
    says(
        &refusal(&format!(
            "service S {{
               rpc M(stream Q) returns (Q) {{ option (cellmesh.policy.v1.policy) = {{scope: SCOPE_USER}}; }}
             }}
             message Q {{ string user = 1 {KEY}; }}"
        )),
        "t.proto: t.S/M: route_key: \"user\" is inside a stream of requests, which could name many users: unmark it \
         and send the key as metadata",
    );
}

#[test]
fn an_idempotency_key_is_a_string() {
    let of = |path: &str, request: &str| policy(&format!("scope: SCOPE_LOCAL idempotency_key: \"{path}\""), request);
    let at = "t.proto: t.S/M: policy.idempotency_key: ";
    says(&of("id", ""), &format!("{at}\"id\" is no field of t.Q"));
    says(&of("i.id", "message I {} I i = 1;"), &format!("{at}\"i.id\" is no field of t.Q.I"));
    says(&of("id", "int64 id = 1;"), &format!("{at}\"id\" is int64, a string that is not repeated is needed"));
    says(
        &of("id", "repeated string id = 1;"),
        &format!("{at}\"id\" is repeated string, a string that is not repeated is needed"),
    );
    says(
        &of("i.id", "message I { string id = 1; } repeated I i = 1;"),
        &format!("{at}\"i\" is repeated t.Q.I, a message that is not repeated is needed"),
    );
    says(&of("id", "oneof o { string id = 1; }"), &format!("{at}\"id\" is in a oneof, where a key cannot be"));
    says(&of(".", ""), &format!("{at}\".\" is no field of t.Q"));
}

#[test]
fn nothing_is_reused_or_hedged_that_may_have_side_effects() {
    for level in ["", "option idempotency_level = IDEMPOTENT;"] {
        let options =
            |policy: &str| format!("{level} option (cellmesh.policy.v1.policy) = {{scope: SCOPE_LOCAL {policy}}};");
        says(
            &method(&options("cache: {ttl_ms: 5}"), ""),
            "t.proto: t.S/M: policy.cache: needs `idempotency_level = NO_SIDE_EFFECTS`",
        );
        says(
            &method(&options("hedge: {max_extra_permille: 5}"), ""),
            "t.proto: t.S/M: policy.hedge: needs `idempotency_level = NO_SIDE_EFFECTS`",
        );
    }
}

#[test]
fn one_users_reply_is_never_reused_for_another() {
    let of = |fields: &str| {
        format!(
            "service S {{ rpc M(Q) returns (Q) {{
               option idempotency_level = NO_SIDE_EFFECTS;
               option (cellmesh.policy.v1.policy) = {{scope: SCOPE_USER cache: {{ttl_ms: 1 key_fields: [{fields}]}}}};
             }} }}
             message I {{ int64 user = 1 {KEY}; }}
             message Q {{ string view = 1; I i = 2 {KEY}; I i2 = 3; }}"
        )
    };
    let want = "t.proto: t.S/M: policy.cache.key_fields: no field holds the user key, \"i.user\": one user would get \
                another's reply";
    for fields in ["\"view\"", "\"view\", \"i2\"", "\"i2.user\""] {
        says(&refusal(&of(fields)), want);
    }
    for fields in ["\"i\"", "\"i.user\", \"view\"", ""] {
        assert!(table(&of(fields)).is_ok(), "{fields}");
    }
}

#[test]
fn values_are_in_range_and_names_are_names() {
    let of = |options: &str| {
        let options = format!(
            "option idempotency_level = NO_SIDE_EFFECTS;
             option (cellmesh.policy.v1.policy) = {{scope: SCOPE_LOCAL {options}}};"
        );
        method(&options, "string a = 1; message I { string b = 1; } I i = 2;")
    };
    let at = |option: &str, fault: &str| format!("t.proto: t.S/M: policy.{option}: {fault}");
    says(
        &of("default_deadline_ms: 2000 max_deadline_ms: 1000"),
        &at("default_deadline_ms", "2000 ms is longer than max_deadline_ms, 1000 ms"),
    );
    says(&of("cache: {}"), &at("cache.ttl_ms", "0 is out of range, 1 to 4294967295 are allowed"));
    says(
        &of("cache: {ttl_ms: 1 key_fields: [\"a\", \"i.b\", \"i.c\"]}"),
        &at("cache.key_fields", "\"i.c\" is no field of t.Q.I"),
    );
    says(
        &of("cache: {ttl_ms: 1 tags: [\"x:{a}:{i.b}\", \"{none}\"]}"),
        &at("cache.tags", "\"none\" is no field of t.Q"),
    );
    for stray in ["{a", "a}", "{a}}", "{{a}", "{a}{"] {
        let refusal = of(&format!("cache: {{ttl_ms: 1 tags: [\"{stray}\"]}}"));
        assert!(refusal.starts_with("t.proto: t.S/M: policy.cache.tags: "), "{stray}: {refusal}");
    }
    says(
        &of("hedge: {max_extra_permille: 1001}"),
        &at("hedge.max_extra_permille", "1001 is out of range, 1 to 1000 are allowed"),
    );
    says(
        &of("local_logic: {name: \"Price Rule\"}"),
        &format!(
            "{}\n{}",
            at("local_logic.name", "\"Price Rule\" is not a name: 1 to 63 of a-z, 0-9, '-', '_' and '.'"),
            at("local_logic.major", "0 is out of range, 1 to 4294967295 are allowed")
        ),
    );
    says(&of("rate_class: \"a b\""), &at("rate_class", "\"a b\" is not a name: 1 to 63 of a-z, 0-9, '-', '_' and '.'"));
}

#[test]
fn streams_have_no_cache_hedge_local_logic_or_batch() {
    let refusal = refusal(
        "service S { rpc M(Q) returns (stream Q) {
           option idempotency_level = NO_SIDE_EFFECTS;
           option (cellmesh.policy.v1.policy) = {
             scope: SCOPE_LOCAL cache: {ttl_ms: 1} hedge: {max_extra_permille: 1}
             local_logic: {name: \"l\" major: 1} batch: {rpc: \"M\" max: 1}
           };
         } }
         message Q {}",
    );
    for option in ["cache", "hedge", "local_logic", "batch"] {
        let want = format!("t.proto: t.S/M: policy.{option}: not allowed for a streaming method");
        assert!(refusal.lines().any(|line| line == want), "no {want:?} in {refusal}");
    }
}

/// Faults of `Get` with this batch option beside a sound `BatchGet`; `more` is added to the service and `messages`
/// replaces the batch's.
fn batch(option: &str, batch_method: &str, messages: &str) -> String {
    refusal(&format!(
        "service S {{
           rpc Get(Q) returns (A) {{
             option idempotency_level = NO_SIDE_EFFECTS;
             option (cellmesh.policy.v1.policy) = {{scope: SCOPE_USER batch: {{{option}}}}};
           }}
           {batch_method}
         }}
         message Q {{ string id = 1 {KEY}; }}
         message A {{}}
         {messages}"
    ))
}

const BATCH: &str = "rpc BatchGet(Qs) returns (As) {
    option idempotency_level = NO_SIDE_EFFECTS;
    option (cellmesh.policy.v1.policy) = {scope: SCOPE_USER};
}";
const MESSAGES: &str = "
    message Qs { repeated string ids = 1 [(cellmesh.policy.v1.route_key) = true]; string one = 2; }
    message As { repeated R results = 1; repeated string names = 2; R one = 3; }
    message R { int32 code = 1; }";
const SOUND: &str = "rpc: \"BatchGet\" items: \"ids\" results: \"results\" max: 10";

#[test]
fn a_batch_rpc_exists_and_does_the_same_for_many() {
    let at = |option: &str, fault: &str| format!("t.proto: t.S/Get: policy.batch.{option}: {fault}");
    let with = |option: &str| batch(option, BATCH, MESSAGES);
    says(&with(&SOUND.replace("BatchGet", "Nope")), &at("rpc", "\"Nope\" is no other method of t.S"));
    says(&with(&SOUND.replace("BatchGet", "Get")), &at("rpc", "\"Get\" is no other method of t.S"));
    says(&with(&SOUND.replace("\"ids\"", "\"nope\"")), &at("items", "\"nope\" is no field of t.Qs"));
    says(&with(&SOUND.replace("\"ids\"", "\"one\"")), &at("items", "\"one\" is string, a repeated field is needed"));
    says(&with(&SOUND.replace("\"results\"", "\"one\"")), &at("results", "\"one\" is t.R, a repeated field is needed"));
    says(
        &with(&SOUND.replace("\"results\"", "\"names\"")),
        &at("results", "\"names\" is repeated string, a repeated message is needed"),
    );
    says(&with(&SOUND.replace("10", "0")), &at("max", "0 is out of range, 1 to 10000 are allowed"));
    says(&with(&SOUND.replace("10", "10001")), &at("max", "10001 is out of range, 1 to 10000 are allowed"));
    says(
        &batch(SOUND, "rpc BatchGet(Qs) returns (As);", MESSAGES),
        &at("rpc", "\"BatchGet\" has no policy of its own"),
    );
    says(
        &batch(SOUND, &BATCH.replace("option idempotency_level = NO_SIDE_EFFECTS;", ""), MESSAGES),
        &at("rpc", "\"BatchGet\" has another idempotency_level"),
    );
    says(
        &batch(SOUND, &BATCH.replace("returns (As)", "returns (stream As)"), MESSAGES),
        &at("rpc", "not allowed for a streaming method"),
    );
    says(
        &batch(SOUND, &BATCH.replace("SCOPE_USER", "SCOPE_LOCAL"), &MESSAGES.replace(KEY, "")),
        &format!(
            "{}\n{}",
            at("rpc", "\"BatchGet\" has another scope"),
            at("rpc", "\"BatchGet\" has another place for the user key: none")
        ),
    );
    says(
        &batch(
            &SOUND.replace("\"ids\"", "\"others\""),
            BATCH,
            &MESSAGES.replace("string one", "repeated string others"),
        ),
        &at("items", "\"others\" holds the items, but the repeated key is \"ids\""),
    );
}

#[test]
fn every_result_has_a_status() {
    let with = |result: &str| batch(SOUND, BATCH, &MESSAGES.replace("message R { int32 code = 1; }", result));
    let want = "t.proto: t.S/Get: policy.batch.results: t.R has no status: `int32 code` (and `string message`) or one \
                field of type google.rpc.Status is needed";
    says(&with("message R {}"), want);
    says(&with("message R { string code = 1; }"), want);
    says(&with("message R { repeated int32 code = 1; }"), want);
}

#[test]
fn two_methods_describe_their_batch_rpc_alike() {
    let second = SOUND.replace("10", "20");
    let method = format!(
        "{BATCH} rpc Peek(Q) returns (A) {{
           option idempotency_level = NO_SIDE_EFFECTS;
           option (cellmesh.policy.v1.policy) = {{scope: SCOPE_USER batch: {{{second}}}}};
         }}"
    );
    says(
        &batch(SOUND, &method, MESSAGES),
        "t.proto: t.S/Peek: policy.batch: \"BatchGet\" is described otherwise by /t.S/Get",
    );
}

#[test]
fn all_faults_are_told_at_once() {
    let errors: PolicyErrors = table(&format!(
        "service A {{ rpc M(Q) returns (Q) {{ option (cellmesh.policy.v1.policy) = {{rate_class: \"A\"}}; }} }}
         service B {{ rpc M(Q) returns (Q) {{ option (cellmesh.policy.v1.policy) = {{scope: SCOPE_USER}}; }} }}
         message Q {{ bool user = 1 {KEY}; }}"
    ))
    .unwrap_err();
    let found: Vec<_> = errors.iter().map(|error| (error.method.as_str(), error.option)).collect();
    let want =
        [("t.A/M", "policy.scope"), ("t.A/M", "route_key"), ("t.A/M", "policy.rate_class"), ("t.B/M", "route_key")];
    assert_eq!(found, want);
}

#[test]
fn sets_agree_about_methods_and_files() {
    let service = |scope: &str| {
        set(&format!(
            "service S {{ rpc M(Q) returns (Q) {{ option (cellmesh.policy.v1.policy) = {{scope: {scope}}}; }} }}
             message Q {{}}"
        ))
    };
    let (local, global) = (service("SCOPE_LOCAL"), service("SCOPE_GLOBAL"));
    assert_eq!(PolicyTable::from_descriptor_sets([&*local, &*local]).unwrap().methods().len(), 1);
    says(
        &PolicyTable::from_descriptor_sets([&*local, &*global]).unwrap_err().to_string(),
        "t.proto: t.S/M: policy: method was defined with another policy or other messages by t.proto\n\
         t.proto: file differs from the file of the same name in an earlier descriptor set",
    );
    let bare = set("service S { rpc M(Q) returns (Q); } message Q {}");
    says(
        &PolicyTable::from_descriptor_sets([&*bare, &*local]).unwrap_err().to_string(),
        "t.proto: t.S/M: policy: method was defined with another policy or other messages by a file without a policy \
         for it\n\
         t.proto: file differs from the file of the same name in an earlier descriptor set",
    );
    // The same names in files of other names.
    let other = compile(&[("other.proto", "syntax = \"proto3\"; package t; message Q { string a = 1; }")]);
    let refusal = PolicyTable::from_descriptor_sets([&*local, &*other]).unwrap_err().to_string();
    assert!(refusal.starts_with("all descriptor sets: descriptor sets do not fit together: "), "{refusal}");
}

#[test]
fn what_is_no_descriptor_set_is_refused() {
    let refusal = PolicyTable::from_descriptor_sets([&b"\xff"[..]]).unwrap_err().to_string();
    assert!(refusal.starts_with("descriptor set 1: descriptor set cannot be read"), "{refusal}");
    let mut compiler = protox::Compiler::new([concat!(env!("CARGO_MANIFEST_DIR"), "/../../proto")]).unwrap();
    compiler.include_imports(false).open_file("shop/member/v1/member.proto").unwrap();
    let refusal = PolicyTable::from_descriptor_sets([&*compiler.encode_file_descriptor_set()]).unwrap_err().to_string();
    assert!(refusal.contains("built without imports?"), "{refusal}");
    assert!(refusal.contains("cellmesh/policy/v1/policy.proto"), "{refusal}");
}

#[test]
fn a_file_of_another_syntax_is_refused() {
    let mut set = set("message Q {}");
    let at = set.windows(6).rposition(|window| window == b"proto3").unwrap();
    set[at..at + 6].copy_from_slice(b"2024ed");
    says(
        &PolicyTable::from_descriptor_sets([&*set]).unwrap_err().to_string(),
        "t.proto: syntax \"2024ed\" is not supported, \"proto2\" and \"proto3\" are",
    );
}

#[test]
fn a_stranger_in_place_of_policy_proto_is_refused() {
    let foreign = "syntax = \"proto3\"; package cellmesh.policy.v1; import \"google/protobuf/descriptor.proto\";
         extend google.protobuf.MethodOptions { string policy = 76501; }";
    let set = compile(&[("elsewhere.proto", foreign)]);
    says(
        &PolicyTable::from_descriptor_sets([&*set]).unwrap_err().to_string(),
        "cellmesh/policy/v1/policy.proto: option is not the one of cellmesh/policy/v1/policy.proto: policy extends \
         google.protobuf.MethodOptions as field 76501",
    );
}
