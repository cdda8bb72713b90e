//! A wrong proto is a build error that names file, method and option.

use crate::protos::{Protos, compile};
use client_sdk_build::Error;

const KEY: &str = "[(cellmesh.policy.v1.route_key) = true]";

/// All faults of a body, a line each, as cargo shows them: with `{:?}`.
#[track_caller]
fn refused(body: &str) -> Vec<String> {
    let error = compile(body).expect_err("must be refused");
    assert!(matches!(error, Error::Faults(_)), "{error}");
    assert_eq!(format!("{error:?}"), error.to_string());
    error.to_string().lines().skip(1).map(|line| line.trim_start().to_owned()).collect()
}

/// The faults of a service `S` whose method `M` has this policy and request.
#[track_caller]
fn policy(policy: &str, request: &str) -> String {
    let faults = refused(&format!(
        "service S {{ rpc M(Q) returns (A) {{ option (cellmesh.policy.v1.policy) = {{{policy}}}; }} }}
         message A {{}} message Q {{ {request} }}"
    ));
    faults.join("\n")
}

/// The faults of `Get` and its batch form with these messages; the items are `ids`.
#[track_caller]
fn batch(option: &str, messages: &str) -> String {
    let faults = refused(&format!(
        "service S {{
           rpc Get(Q) returns (A) {{ option (cellmesh.policy.v1.policy) = {{scope: SCOPE_USER batch: {{{option}}}}}; }}
           rpc BatchGet(Qs) returns (As) {{ option (cellmesh.policy.v1.policy) = {{scope: SCOPE_USER}}; }}
         }}
         message As {{ repeated R results = 1; }}
         {messages}"
    ));
    faults.join("\n")
}

const OPTION: &str = "rpc: \"BatchGet\" items: \"ids\" results: \"results\" max: 10";

fn messages(q: &str, qs: &str, a: &str, r: &str) -> String {
    format!(
        "message Q {{ string id = 1 {KEY}; {q} }} message Qs {{ repeated string ids = 1 {KEY}; {qs} }}
         message A {{ {a} }} message R {{ int32 code = 100; {r} }}"
    )
}

#[test]
fn a_policy_says_where_a_method_runs() {
    let want = "t.proto: t.S/M: policy.scope: not set; one of SCOPE_USER, SCOPE_GLOBAL, SCOPE_REPLICATED and SCOPE_LOCAL is \
                needed";
    assert_eq!(policy("criticality: CRITICALITY_CORE", ""), want);
}

#[test]
fn a_user_key_resolves() {
    let of = |request: &str| policy("scope: SCOPE_USER", request);
    let at = "t.proto: t.S/M: route_key: ";
    assert_eq!(
        of(&format!("bool user = 1 {KEY};")),
        format!("{at}\"user\" is bool, a string, bytes or an integer is needed")
    );
    assert_eq!(
        of(&format!("message I {{ string user = 1 {KEY}; }} I i = 1;")),
        format!("{at}\"i.user\" is marked, but \"i\" on the way to it is not: mark it too")
    );
    assert_eq!(
        of(&format!("message I {{ string user = 1; }} I i = 1 {KEY};")),
        format!("{at}\"i\" is marked, but t.Q.I marks no field")
    );
    assert_eq!(
        of(&format!("string a = 1 {KEY}; string b = 2 {KEY};")),
        format!("{at}t.Q marks several fields: a, b; exactly one may hold the key")
    );
    assert_eq!(
        of(&format!("oneof o {{ string user = 1 {KEY}; }}")),
        format!("{at}\"user\" is in a oneof, where a key cannot be")
    );
    assert_eq!(
        policy("scope: SCOPE_GLOBAL", &format!("string user = 1 {KEY};")),
        format!("{at}\"user\" is marked, but only SCOPE_USER has a key")
    );
}

#[test]
fn an_idempotency_key_resolves() {
    let want = "t.proto: t.S/M: policy.idempotency_key: \"id\" is int64, a string that is not repeated is needed";
    assert_eq!(policy("scope: SCOPE_LOCAL idempotency_key: \"id\"", "int64 id = 1;"), want);
}

#[test]
fn only_reads_are_reused_and_only_for_their_user() {
    let side_effects = "t.proto: t.S/M: policy.cache: needs `idempotency_level = NO_SIDE_EFFECTS`";
    assert_eq!(policy("scope: SCOPE_LOCAL cache: {ttl_ms: 1}", ""), side_effects);
    let cache = |fields: &str| {
        policy(
            &format!("scope: SCOPE_USER cache: {{ttl_ms: 1 key_fields: \"{fields}\"}}"),
            &format!("string user = 1 {KEY}; int32 n = 2;"),
        )
    };
    assert_eq!(
        cache("n"),
        format!(
            "{side_effects}\nt.proto: t.S/M: policy.cache.key_fields: no field holds the user key, \"user\": one user would \
             get another's reply"
        )
    );
    assert!(cache("nope").contains("t.proto: t.S/M: policy.cache.key_fields: \"nope\" is no field of t.Q"));
}

#[test]
fn a_batch_rpc_exists_with_items_results_and_statuses() {
    let at = "t.proto: t.S/Get: policy.batch.";
    let sound = messages("", "", "", "");
    assert_eq!(
        batch(&OPTION.replace("BatchGet", "GetMany"), &sound),
        format!("{at}rpc: \"GetMany\" is no other method of t.S")
    );
    assert_eq!(batch(&OPTION.replace("ids", "keys"), &sound), format!("{at}items: \"keys\" is no field of t.Qs"));
    assert_eq!(
        batch(OPTION, &sound.replace("int32 code = 100;", "")),
        format!(
            "{at}results: t.R has no status: `int32 code` (and `string message`) or one field of type google.rpc.Status is \
             needed"
        )
    );
    assert_eq!(
        batch(&OPTION.replace("10", "0"), &sound),
        format!("{at}max: 0 is out of range, 1 to 10000 are allowed")
    );
}

#[test]
fn the_fields_of_a_batch_are_those_of_its_single_calls() {
    let at = "t.proto: t.S/Get: policy.batch.";
    let missing = "is needed, but no field of";
    assert_eq!(
        batch(OPTION, &messages("bool full = 2;", "", "string text = 1; bytes raw = 2;", "string raw = 1;")),
        format!(
            "{at}items: \"full\" of t.Q {missing} t.Qs has its name and type, and is optional if it is\n\
             {at}results: \"text\" of t.A {missing} t.R has its name and type, and is optional if it is\n\
             {at}results: \"raw\" of t.A {missing} t.R has its name and type, and is optional if it is"
        )
    );
    assert_eq!(
        batch(OPTION, &messages("", "", "", "").replace("{ string id", "{ int64 id")),
        format!(
            "{at}items: \"ids\" has no like in t.Q: it must hold t.Q itself, a field of it that is named like the items in \
             the singular, or messages with fields of the same names and types"
        )
    );
    assert_eq!(
        batch(
            OPTION,
            &messages("string owner = 2;", "string owner = 2;", "", "").replacen(
                &format!("repeated string ids = 1 {KEY}; string owner = 2"),
                &format!("repeated string ids = 1; string owner = 2 {KEY}"),
                1
            )
        ),
        format!("{at}items: the user key \"id\" becomes \"ids\" there, where the key is \"owner\"")
    );
}

#[test]
fn names_do_not_collide_in_rust() {
    let level = "option (cellmesh.policy.v1.policy) = {scope: SCOPE_LOCAL};";
    assert_eq!(
        refused(&format!(
            "service S {{ rpc GetIt(Q) returns (Q) {{ {level} }} rpc getIt(Q) returns (Q) {{ {level} }} }} message Q {{}}"
        )),
        ["t.proto: t.S/getIt: in Rust it would have the name of GetIt"]
    );
    assert_eq!(
        refused(&format!(
            "service S {{ rpc M(Q) returns (Q) {{ {level} }} }} message Q {{}} message SClient {{}} enum SMock {{ Z = 0; }}"
        )),
        [
            "t.proto: t.S: SClient would be the name of something of t.SClient too",
            "t.proto: t.S: SMock would be the name of something of t.SMock too",
        ]
    );
}

#[test]
fn all_faults_are_told_at_once() {
    let faults = refused(&format!(
        "service S {{
           rpc Get(Q) returns (A) {{ option (cellmesh.policy.v1.policy) = {{scope: SCOPE_USER batch: {{{OPTION}}}}}; }}
           rpc BatchGet(Qs) returns (As) {{ option (cellmesh.policy.v1.policy) = {{scope: SCOPE_USER}}; }}
           rpc Other(A) returns (A) {{ option (cellmesh.policy.v1.policy) = {{rate_class: \"A B\"}}; }}
         }}
         message As {{ repeated R results = 1; }}
         service T {{ rpc New(A) returns (A); }}
         message TMock {{}}
         {}",
        messages("bool full = 2;", "", "", "")
    ));
    let places: Vec<_> =
        faults.iter().map(|fault| fault.splitn(4, ": ").take(3).collect::<Vec<_>>().join(": ")).collect();
    let want = [
        "t.proto: t.S/Other: policy.scope",
        "t.proto: t.S/Other: policy.rate_class",
        "t.proto: t.S/Get: policy.batch.items",
        "t.proto: t.T: TMock would be the name of something of t.TMock too",
    ];
    assert_eq!(places, want);
}

#[test]
fn what_is_no_proto_is_shown_where_it_stands() {
    let error = compile("message Q { strin a = 1; }").unwrap_err().to_string();
    assert!(error.contains("t.proto") && error.contains("strin"), "{error}");
    let protos = Protos::new(&[("a.proto", "syntax = \"proto3\"; import \"b.proto\";")]);
    let error = protos.builder().compile(["a.proto"]).unwrap_err().to_string();
    assert!(error.contains("import 'b.proto' not found"), "{error}");
    let error = protos.builder().compile(["none.proto"]).unwrap_err().to_string();
    assert!(error.contains("none.proto"), "{error}");
}

#[test]
fn wrong_options_of_the_builder_are_refused() {
    let protos = Protos::new(&[("a.proto", "syntax = \"proto3\"; package a; message A {}")]);
    let error = |proto: &str, rust: &str| {
        protos.builder().messages_at(proto, rust).compile(["a.proto"]).unwrap_err().to_string()
    };
    assert_eq!(error("a", "::a"), "messages_at: \"a\" has no dot in front, like \".acme.notes.v1\"");
    for rust in ["a", "::a(", ""] {
        let want = format!("messages_at: {rust:?} is no path that starts with \"::\" or \"crate::\"");
        assert_eq!(error(".a", rust), want);
    }
    let missing = protos.builder().out_dir(protos.out.path().join("none")).compile(["a.proto"]).unwrap_err();
    assert!(matches!(missing, Error::Io { .. }), "{missing}");
}
