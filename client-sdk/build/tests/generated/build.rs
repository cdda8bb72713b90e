//! Generates code of protos that try everything.

use client_sdk_build::{Builder, Error};
use std::{env, fmt::Write as _, fs, path::PathBuf};

const KINDS: [&str; 12] = [
    "int32", "int64", "uint32", "uint64", "sint32", "sint64", "fixed32", "fixed64", "sfixed32", "sfixed64", "string",
    "bytes",
];
const SHAPES: [&str; 7] = ["Flat", "Optional", "Nested", "Deep", "Many", "Items", "Old"];
const FILES: [&str; 3] = ["gen/shapes/v1/shapes.proto", "gen/odd/v1/odd.proto", "gen/old/v1/old.proto"];

fn main() -> Result<(), Error> {
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    let keys = out.join("proto");
    let io = |source| Error::Io { path: out.clone(), source };
    fs::create_dir_all(&keys).map_err(io)?;
    fs::write(keys.join("keys.proto"), keys_proto("proto3", &SHAPES[..6])).map_err(io)?;
    fs::write(keys.join("old_keys.proto"), keys_proto("proto2", &SHAPES[6..])).map_err(io)?;
    fs::write(out.join("each_key_method.rs"), each_key_method()).map_err(io)?;
    Builder::new()
        .include("proto")
        .include(&keys)
        .compile(FILES.into_iter().chain(["keys.proto", "old_keys.proto"]))?;

    // Clients beside messages that are somewhere else.
    let clients = out.join("clients");
    fs::create_dir_all(&clients).map_err(io)?;
    Builder::new()
        .include("proto")
        .messages_at(".gen", "crate::gen")
        .messages_at(".google.rpc", "crate::google::rpc")
        .out_dir(&clients)
        .compile(["gen/shapes/v1/shapes.proto"])?;

    // All that tonic has, from a descriptor set.
    let tonic = out.join("tonic");
    fs::create_dir_all(&tonic).map_err(io)?;
    let set = fs::read(clients.join("descriptors.binpb")).map_err(io)?;
    Builder::new()
        .tonic_server(true)
        .tonic_client(true)
        .configure_messages(|config| {
            config.bytes(["."]);
        })
        .out_dir(&tonic)
        .compile_descriptor_set(&set)
}

/// Every shape a key may have, for every scalar type.
fn keys_proto(syntax: &str, shapes: &[&str]) -> String {
    let package = if syntax == "proto2" { "keys.old" } else { "keys" };
    let mut proto = format!(
        "syntax = \"{syntax}\"; package {package}; import \"cellmesh/policy/v1/policy.proto\";\nservice Keys {{\n"
    );
    for (kind, shape) in KINDS.iter().flat_map(|kind| shapes.iter().map(move |shape| (kind, shape))) {
        let _ = writeln!(
            proto,
            "rpc {shape}_{kind}({shape}_{kind}) returns ({shape}_{kind}) {{
               option (cellmesh.policy.v1.policy) = {{scope: SCOPE_USER}};
             }}"
        );
    }
    proto.push_str("}\n");
    let mark = "[(cellmesh.policy.v1.route_key) = true]";
    for kind in KINDS {
        let messages = if syntax == "proto2" {
            format!(
                "message Leaf_{kind} {{ optional {kind} key = 2048 {mark}; required bool b = 1; }}
                 message Old_{kind} {{ required Mid_{kind} mid = 1 {mark}; optional int32 beside = 2 [default = 7]; }}
                 message Mid_{kind} {{ optional Leaf_{kind} leaf = 16 {mark}; }}"
            )
        } else {
            format!(
                "message Leaf_{kind} {{ double d = 1; {kind} key = 2048 {mark}; repeated string tags = 3; }}
                 message Mid_{kind} {{ fixed64 x = 1; Leaf_{kind} leaf = 16 {mark}; Leaf_{kind} other = 2; }}
                 message Flat_{kind} {{ {kind} key = 1 {mark}; repeated fixed32 tail = 2; bool flag = 3; }}
                 message Optional_{kind} {{ optional {kind} key = 1 {mark}; Mid_{kind} mid = 2; }}
                 message Nested_{kind} {{ Mid_{kind} mid = 2 {mark}; map<string, Leaf_{kind}> table = 5; }}
                 message Deep_{kind} {{
                   Inner self = 1 {mark}; message Inner {{ {kind} key = 1 {mark}; Deep_{kind} again = 2; }}
                 }}
                 message Many_{kind} {{ string before = 1; repeated {kind} keys = 2 {mark}; }}
                 message Items_{kind} {{ uint64 n = 1; repeated Mid_{kind} items = 7 {mark}; }}"
            )
        };
        proto.push_str(&messages);
        proto.push('\n');
    }
    proto
}

/// A macro that calls another for each of these methods.
fn each_key_method() -> String {
    let mut source = "macro_rules! each_key_method { ($check:ident) => {\n".to_owned();
    for (kind, shape) in KINDS.iter().flat_map(|kind| SHAPES.iter().map(move |shape| (kind, shape))) {
        let module = if *shape == "Old" { "keys::old" } else { "keys" };
        let (first, rest) = kind.split_at(1);
        let _ = writeln!(source, "$check!({module}::keys_methods::{shape}{}{rest});", first.to_uppercase());
    }
    source + "}; }\n"
}
