//! What finding the user key costs: `cargo bench -p mesh-policy`.
#![allow(missing_docs, reason = "criterion's macros document nothing")]

use criterion::{Criterion, criterion_group, criterion_main};
use mesh_policy::PolicyTable;
use prost_reflect::prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, Value};
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver, IncludeFileResolver};
use std::hint::black_box;
use std::path::PathBuf;

const PROTO: &str = "
    syntax = \"proto3\"; package b; import \"cellmesh/policy/v1/policy.proto\";
    service S {
      rpc Text(Text) returns (Text) { option (cellmesh.policy.v1.policy) = {scope: SCOPE_USER}; }
      rpc Int(Int) returns (Int) { option (cellmesh.policy.v1.policy) = {scope: SCOPE_USER}; }
      rpc Nested(Nested) returns (Nested) { option (cellmesh.policy.v1.policy) = {scope: SCOPE_USER}; }
      rpc Many(Many) returns (Many) { option (cellmesh.policy.v1.policy) = {scope: SCOPE_USER}; }
    }
    message Text { string user = 1 [(cellmesh.policy.v1.route_key) = true]; string id = 2; repeated Line lines = 3; }
    message Line { string sku = 1; int32 quantity = 2; }
    message Int { int64 user = 1 [(cellmesh.policy.v1.route_key) = true]; }
    message Nested { Line line = 1; Int owner = 2 [(cellmesh.policy.v1.route_key) = true]; }
    message Many { repeated string users = 1 [(cellmesh.policy.v1.route_key) = true]; }";

struct Source;

impl FileResolver for Source {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        if name == "b.proto" { File::from_source(name, PROTO) } else { Err(protox::Error::file_not_found(name)) }
    }
}

fn descriptor_set() -> Vec<u8> {
    let mut resolver = ChainFileResolver::new();
    resolver.add(Source);
    resolver.add(IncludeFileResolver::new(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../proto")));
    resolver.add(GoogleFileResolver::new());
    let mut compiler = protox::Compiler::with_file_resolver(resolver);
    compiler.include_imports(true).open_file("b.proto").expect("the proto is valid");
    compiler.encode_file_descriptor_set()
}

fn extraction(c: &mut Criterion) {
    let set = descriptor_set();
    let table = PolicyTable::from_descriptor_sets([&*set]).expect("the policies are sound");
    let pool = DescriptorPool::decode(&*set).expect("the set is sound");
    let user = "01hzy3v6k0t8m5r2q9xw4dce7f";
    let line = "lines {sku: \"tea-green-250\" quantity: 2} ";
    let messages = [
        ("string", "Text", format!("user: \"{user}\" id: \"8c6f0a6e-7d8b\"")),
        ("string among 20 lines", "Text", format!("user: \"{user}\" id: \"8c6f0a6e-7d8b\" {}", line.repeat(20))),
        ("int64", "Int", "user: 1234567890123".to_owned()),
        ("nested int64", "Nested", "line {sku: \"tea\" quantity: 2} owner {user: 1234567890123}".to_owned()),
        ("100 equal strings", "Many", format!("users: \"{user}\" ").repeat(100)),
    ];
    let mut group = c.benchmark_group("extract");
    for (name, message, text) in &messages {
        let descriptor = pool.get_message_by_name(&format!("b.{message}")).expect("the message exists");
        let bytes = DynamicMessage::parse_text_format(descriptor, text).expect("the text is valid").encode_to_vec();
        let policy = table.method(&format!("/b.S/{message}")).expect("the method exists");
        let key = policy.route_key.as_ref().expect("the request has a key");
        group.bench_function(format!("{name} ({} bytes)", bytes.len()), |b| {
            b.iter(|| key.extract(black_box(&bytes)).expect("the message is valid"));
        });
    }
    group.finish();

    let descriptor = pool.get_message_by_name("b.Text").expect("the message exists");
    let bytes = DynamicMessage::parse_text_format(descriptor.clone(), &messages[0].2).expect("valid").encode_to_vec();
    c.bench_function("for comparison: full decode of the string", |b| {
        b.iter(|| {
            let decoded = DynamicMessage::decode(descriptor.clone(), black_box(&*bytes)).expect("valid");
            matches!(decoded.get_field_by_name("user").as_deref(), Some(Value::String(_)))
        });
    });
    c.bench_function("policy by path", |b| b.iter(|| table.method(black_box("/b.S/Nested"))));
}

criterion_group!(benches, extraction);
criterion_main!(benches);
