//! Names in Rust, as prost and tonic make them.

use crate::Fault;
use heck::{ToSnakeCase, ToUpperCamelCase};
use proc_macro2::{Ident, Span};
use prost_reflect::{DescriptorPool, FileDescriptor, MessageDescriptor, ServiceDescriptor};
use std::collections::{BTreeMap, HashMap};

/// Words that Rust keeps to itself but allows as raw identifiers.
const KEYWORDS: &[&str] = &[
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "do", "dyn", "else", "enum",
    "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop", "macro", "match", "mod", "move", "mut",
    "override", "priv", "pub", "ref", "return", "static", "struct", "trait", "true", "try", "type", "typeof", "unsafe",
    "unsized", "use", "virtual", "where", "while", "yield",
];
/// Words that it does not even allow so.
const NEVER: &[&str] = &["Self", "crate", "extern", "self", "super"];

/// Name of a field, function or module. The protobuf name was [`check`]ed.
pub(crate) fn snake(name: &str) -> Ident {
    let name = name.to_snake_case();
    match &*name {
        keyword if KEYWORDS.contains(&keyword) => Ident::new_raw(keyword, Span::call_site()),
        never if NEVER.contains(&never) => plain(&format!("{never}_")),
        name => plain(name),
    }
}

/// A name with words around it: no keyword.
pub(crate) fn snake_with(prefix: &str, name: &str, suffix: &str) -> Ident {
    plain(&format!("{prefix}{}{suffix}", name.to_snake_case()))
}

/// Name of a type, with this suffix.
pub(crate) fn camel(name: &str, suffix: &str) -> Ident {
    match format!("{}{suffix}", name.to_upper_camel_case()) {
        never if NEVER.contains(&&*never) => plain(&format!("{never}_")),
        name => plain(&name),
    }
}

fn plain(name: &str) -> Ident {
    Ident::new(name, Span::call_site())
}

/// Everything that cannot be named in Rust. Only descriptor sets that no compiler made have names that are none; two
/// names of protobuf that are one of Rust's anybody may have.
pub(crate) fn check(pool: &DescriptorPool, services: &[ServiceDescriptor]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for file in pool.files() {
        check_file(&file, &mut faults);
    }
    if !faults.is_empty() {
        return faults;
    }
    let mut types = types(pool);
    for service in services {
        check_service(service, &mut types, &mut faults);
    }
    faults
}

fn fault(file: &FileDescriptor, element: &str, why: String) -> Fault {
    Fault::Name { file: file.name().to_owned(), element: element.to_owned(), why }
}

fn check_file(file: &FileDescriptor, faults: &mut Vec<Fault>) {
    let mut check = |element: &str, name: &str| {
        if !is_name(name) {
            faults.push(fault(file, element, format!("{name:?} is no name of protobuf, or has no letter")));
        }
    };
    for part in file.package_name().split('.').filter(|part| !part.is_empty()) {
        check(file.package_name(), part);
    }
    for service in file.services() {
        check(service.full_name(), service.name());
        service.methods().for_each(|method| check(service.full_name(), method.name()));
    }
    file.enums().for_each(|enumeration| {
        check(enumeration.full_name(), enumeration.name());
        enumeration.values().for_each(|value| check(enumeration.full_name(), value.name()));
    });
    let mut open: Vec<MessageDescriptor> = file.messages().collect();
    while let Some(message) = open.pop() {
        check(message.full_name(), message.name());
        message.fields().for_each(|field| check(message.full_name(), field.name()));
        message.oneofs().for_each(|oneof| check(message.full_name(), oneof.name()));
        message.child_enums().for_each(|enumeration| {
            check(enumeration.full_name(), enumeration.name());
            enumeration.values().for_each(|value| check(enumeration.full_name(), value.name()));
        });
        open.extend(message.child_messages());
    }
}

fn is_name(name: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let digit_first = name.as_bytes().first().is_none_or(u8::is_ascii_digit);
    !digit_first && name.bytes().all(word) && name.bytes().any(|b| b.is_ascii_alphabetic())
}

/// Who has which type or module name in which package.
type Types = HashMap<(String, String), String>;

fn types(pool: &DescriptorPool) -> Types {
    let mut types = Types::new();
    for file in pool.files() {
        let mut add = |name: String, of: &str| {
            types.insert((file.package_name().to_owned(), name), of.to_owned());
        };
        for message in file.messages() {
            add(camel(message.name(), "").to_string(), message.full_name());
            add(snake(message.name()).to_string(), message.full_name());
        }
        file.enums().for_each(|enumeration| add(camel(enumeration.name(), "").to_string(), enumeration.full_name()));
    }
    types
}

fn check_service(service: &ServiceDescriptor, types: &mut Types, faults: &mut Vec<Fault>) {
    let (file, element) = (service.parent_file(), service.full_name());
    let generated = [
        camel(service.name(), "Client").to_string(),
        camel(service.name(), "Mock").to_string(),
        snake_with("", service.name(), "_methods").to_string(),
    ];
    for name in generated {
        let key = (file.package_name().to_owned(), name);
        if let Some(other) = types.get(&key) {
            faults.push(fault(&file, element, format!("{} would be the name of something of {other} too", key.1)));
        }
        types.insert(key, element.to_owned());
    }
    let mut methods = BTreeMap::new();
    for method in service.methods() {
        let name = method.name().to_owned();
        if let Some(other) = methods.insert(snake(&name).to_string(), name.clone()) {
            let element = format!("{element}/{name}");
            faults.push(fault(&file, &element, format!("in Rust it would have the name of {other}")));
        }
    }
}
