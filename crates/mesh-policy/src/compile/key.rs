//! Following `route_key` marks from a request to the field that holds the user key.

use super::Sink;
use super::place::{MAX_PATH, key_kind, readable, step, wrong};
use crate::extract::FieldPath;
use crate::options::is_route_key;
use crate::sets::Set;
use crate::{Fault, RouteKey, Scope};
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor};

const OPTION: &str = "route_key";

/// The request's route key, if marked.
pub(super) fn route_key(
    set: &Set<'_>,
    method: &MethodDescriptor,
    scope: Scope,
    sink: &mut Sink<'_>,
) -> Option<RouteKey> {
    let key = sink.take(OPTION, find(set, &method.input(), scope == Scope::User))??;
    let path = key.path().to_owned();
    if scope != Scope::User {
        sink.add(OPTION, Fault::KeyWithoutUser { path });
    } else if method.is_client_streaming() {
        sink.add(OPTION, Fault::KeyInStream { path });
    }
    Some(key)
}

fn find(set: &Set<'_>, request: &MessageDescriptor, wanted: bool) -> Result<Option<RouteKey>, Fault> {
    let mut message = request.clone();
    let mut name = String::new();
    let mut steps = Vec::new();
    let mut repeated = false;
    loop {
        let marked = marked(set, &message)?;
        let field = match &*marked {
            [field] => field,
            [] if steps.is_empty() => {
                if wanted {
                    unreachable_mark(set, request)?;
                }
                return Ok(None);
            }
            [] => return Err(Fault::DeadEnd { path: name, message: message.full_name().to_owned() }),
            several => {
                let fields: Vec<_> = several.iter().map(FieldDescriptor::name).collect();
                let message = message.full_name().to_owned();
                return Err(Fault::SeveralKeys { message, fields: fields.join(", ") });
            }
        };
        name = if name.is_empty() { field.name().to_owned() } else { format!("{name}.{}", field.name()) };
        readable(field, &name)?;
        if field.is_list() {
            if !steps.is_empty() {
                return Err(Fault::NestedRepeated { path: name });
            }
            repeated = true;
        }
        steps.push(step(field));
        if let Some(kind) = key_kind(field) {
            let path = FieldPath { name: name.into(), steps: steps.into(), kind };
            return Ok(Some(RouteKey::new(path, repeated)));
        }
        let Kind::Message(inner) = field.kind() else {
            return Err(wrong(&name, field, "a string, bytes or an integer"));
        };
        if steps.len() >= MAX_PATH {
            return Err(Fault::Place { path: name, found: "a message that contains itself" });
        }
        message = inner;
    }
}

fn marked(set: &Set<'_>, message: &MessageDescriptor) -> Result<Vec<FieldDescriptor>, Fault> {
    let mut marked = Vec::new();
    for field in message.fields() {
        if is_route_key(set, &field)? {
            marked.push(field);
        }
    }
    Ok(marked)
}

/// A request without a mark of its own whose messages have one was most likely meant to have it.
fn unreachable_mark(set: &Set<'_>, request: &MessageDescriptor) -> Result<(), Fault> {
    let mut seen = vec![request.full_name().to_owned()];
    let mut open: Vec<_> = request.fields().map(|field| (field.name().to_owned(), field)).collect();
    while let Some((at, field)) = open.pop() {
        let Kind::Message(message) = field.kind() else { continue };
        if seen.iter().any(|name| name == message.full_name()) {
            continue;
        }
        seen.push(message.full_name().to_owned());
        for inner in message.fields() {
            let path = format!("{at}.{}", inner.name());
            if is_route_key(set, &inner)? {
                return Err(Fault::Unreachable { path, at });
            }
            open.push((path, inner));
        }
    }
    Ok(())
}
