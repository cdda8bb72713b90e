//! Descriptor sets may be anything.

use crate::protos::Protos;
use client_sdk_build::{Builder, Error};
use proptest::prelude::*;
use prost_reflect::prost::Message as _;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, EnumValueDescriptorProto, FieldDescriptorProto, FileDescriptorProto,
    FileDescriptorSet, MethodDescriptorProto, ServiceDescriptorProto,
};
use std::sync::OnceLock;
use tempfile::TempDir;

/// A sound set that uses everything.
fn sound() -> &'static [u8] {
    static SET: OnceLock<Vec<u8>> = OnceLock::new();
    SET.get_or_init(|| {
        let proto = crate::NOTES;
        let protos = Protos::new(&[("notes.proto", proto)]);
        protos.builder().compile(["notes.proto"]).unwrap();
        std::fs::read(protos.out.path().join("descriptors.binpb")).unwrap()
    })
}

fn generate(set: &[u8]) -> Result<(), Error> {
    let out = TempDir::new().unwrap();
    Builder::new().out_dir(out.path()).compile_descriptor_set(set)
}

fn file(change: impl FnOnce(&mut FileDescriptorProto)) -> Result<(), Error> {
    let mut file = FileDescriptorProto {
        name: Some("t.proto".to_owned()),
        package: Some("t".to_owned()),
        syntax: Some("proto3".to_owned()),
        message_type: vec![DescriptorProto { name: Some("M".to_owned()), ..Default::default() }],
        ..Default::default()
    };
    change(&mut file);
    generate(&FileDescriptorSet { file: vec![file] }.encode_to_vec())
}

#[test]
fn the_undamaged_sets_are_sound() {
    generate(sound()).unwrap();
    file(|_| {}).unwrap();
    generate(&[]).unwrap();
}

#[test]
fn names_that_are_none_are_refused() {
    let name = || Some("M; fn main() {}".to_owned());
    let message = || Some(".t.M".to_owned());
    let changes: [&dyn Fn(&mut FileDescriptorProto); 6] = [
        &|file| file.message_type[0].name = name(),
        &|file| file.package = name(),
        &|file| {
            file.message_type[0].field.push(FieldDescriptorProto {
                name: name(),
                number: Some(1),
                label: Some(1),
                r#type: Some(9),
                ..Default::default()
            });
        },
        &|file| {
            file.enum_type.push(EnumDescriptorProto {
                name: Some("E".to_owned()),
                value: vec![EnumValueDescriptorProto { name: name(), number: Some(0), ..Default::default() }],
                ..Default::default()
            });
        },
        &|file| file.service.push(ServiceDescriptorProto { name: name(), ..Default::default() }),
        &|file| {
            let method = MethodDescriptorProto {
                name: name(),
                input_type: message(),
                output_type: message(),
                ..Default::default()
            };
            let service = Some("S".to_owned());
            file.service.push(ServiceDescriptorProto { name: service, method: vec![method], ..Default::default() });
        },
    ];
    for change in changes {
        let error = file(change).unwrap_err().to_string();
        assert!(error.contains("is no name of protobuf") || error.contains("descriptor set cannot be read"), "{error}");
    }
}

#[test]
fn a_name_without_a_letter_is_refused() {
    let error = file(|file| file.message_type[0].name = Some("__".to_owned())).unwrap_err().to_string();
    assert_eq!(error, "\n  t.proto: t.__: \"__\" is no name of protobuf, or has no letter");
}

#[test]
fn what_prost_panics_at_is_an_error() {
    let value = |name: &str, number| EnumValueDescriptorProto {
        name: Some(name.to_owned()),
        number: Some(number),
        ..Default::default()
    };
    let values = vec![value("FOO_BAR", 0), value("FooBar", 1)];
    let error = file(|file| {
        file.enum_type.push(EnumDescriptorProto { name: Some("E".to_owned()), value: values, ..Default::default() });
    });
    let error = error.unwrap_err().to_string();
    assert!(error.starts_with("prost cannot generate these messages: Generated enum variant names overlap"), "{error}");
}

#[test]
fn what_is_no_descriptor_set_is_refused() {
    let error = generate(b"\xff").unwrap_err().to_string();
    assert!(error.starts_with("\n  descriptor set 1: descriptor set cannot be read"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// The file under test is the last of the set: damage falls there.
    #[test]
    fn damaged_sets_are_refused_or_read_but_never_panic(
        damage in proptest::collection::vec((0..2000usize, any::<u8>()), 1..4), cut in proptest::option::of(0..2000usize),
    ) {
        let mut bytes = sound().to_vec();
        let len = bytes.len();
        for (from_end, byte) in damage {
            bytes[len - 1 - from_end % len] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(len - cut % len);
        }
        let _ = generate(&bytes);
    }
}
