//! Fields named by a dotted path, and places where a value cannot be read from wire bytes alone.

use crate::Fault;
use crate::extract::{FieldPath, Kind, Step};
use prost_reflect::{Cardinality, FieldDescriptor, Kind as FieldKind, MessageDescriptor};

/// Longest path.
pub(super) const MAX_PATH: usize = 32;

/// The fields on the way of `path` (`a.b.c`), through messages that are not repeated.
pub(super) fn resolve(request: &MessageDescriptor, path: &str) -> Result<Vec<FieldDescriptor>, Fault> {
    let mut fields: Vec<FieldDescriptor> = Vec::new();
    for name in path.split('.') {
        let message = match fields.last() {
            None => request.clone(),
            Some(parent) => match parent.kind() {
                FieldKind::Message(message) if parent.cardinality() != Cardinality::Repeated => message,
                _ => return Err(wrong(parent.name(), parent, "a message that is not repeated")),
            },
        };
        let found = message.get_field_by_name(name).filter(|_| fields.len() < MAX_PATH);
        fields.push(
            found.ok_or_else(|| Fault::NoField { path: path.to_owned(), message: message.full_name().to_owned() })?,
        );
    }
    Ok(fields)
}

/// The path of a string that is there at most once.
pub(super) fn text(request: &MessageDescriptor, path: &str) -> Result<FieldPath, Fault> {
    let fields = resolve(request, path)?;
    for field in &fields {
        readable(field, path)?;
    }
    match fields.last() {
        Some(field) if field.kind() == FieldKind::String && field.cardinality() != Cardinality::Repeated => {
            Ok(FieldPath { name: path.into(), steps: fields.iter().map(step).collect(), kind: Kind::String })
        }
        Some(field) => Err(wrong(path, field, "a string that is not repeated")),
        None => Err(Fault::NoField { path: path.to_owned(), message: request.full_name().to_owned() }),
    }
}

/// A field as a step of a path.
pub(super) fn step(field: &FieldDescriptor) -> Step {
    let maps = field.parent_message().fields().filter(FieldDescriptor::is_map).map(|map| map.number());
    Step { field: field.number(), maps: maps.collect() }
}

/// Whether the last occurrence on the wire is the field's value, whatever else the message holds.
pub(super) fn readable(field: &FieldDescriptor, path: &str) -> Result<(), Fault> {
    let found = if field.is_map() {
        "a map"
    } else if field.is_group() {
        "a group"
    } else if field.containing_oneof().is_some_and(|oneof| !oneof.is_synthetic()) {
        // A later member of the oneof would unset it.
        "in a oneof"
    } else if field.field_descriptor_proto().default_value.is_some() {
        // Absent would not mean absent.
        "a field with a default"
    } else {
        return Ok(());
    };
    Err(Fault::Place { path: path.to_owned(), found })
}

/// The type of a key, if it may be one.
pub(super) fn key_kind(field: &FieldDescriptor) -> Option<Kind> {
    Some(match field.kind() {
        FieldKind::Int32 => Kind::Int32,
        FieldKind::Int64 => Kind::Int64,
        FieldKind::Uint32 => Kind::Uint32,
        FieldKind::Uint64 => Kind::Uint64,
        FieldKind::Sint32 => Kind::Sint32,
        FieldKind::Sint64 => Kind::Sint64,
        FieldKind::Fixed32 => Kind::Fixed32,
        FieldKind::Fixed64 => Kind::Fixed64,
        FieldKind::Sfixed32 => Kind::Sfixed32,
        FieldKind::Sfixed64 => Kind::Sfixed64,
        FieldKind::String => Kind::String,
        FieldKind::Bytes => Kind::Bytes,
        FieldKind::Double | FieldKind::Float | FieldKind::Bool | FieldKind::Message(_) | FieldKind::Enum(_) => {
            return None;
        }
    })
}

/// "is a X, Y is needed".
pub(super) fn wrong(path: &str, field: &FieldDescriptor, wanted: &'static str) -> Fault {
    let repeated = if field.is_list() { "repeated " } else { "" };
    let kind = match field.kind() {
        _ if field.is_map() => "map".to_owned(),
        FieldKind::Message(message) => message.full_name().to_owned(),
        FieldKind::Enum(enumeration) => format!("enum {}", enumeration.full_name()),
        scalar => format!("{scalar:?}"),
    };
    Fault::Type { path: path.to_owned(), found: format!("{repeated}{kind}"), wanted }
}
