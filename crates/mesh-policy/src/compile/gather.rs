//! Which field of a single call is which field of its batch RPC: by names and types, as AIP has them.

use super::{Draft, Sink};
use crate::batch::ItemStatus;
use crate::{Answer, Fault, Gather, Item, PolicyErrors, RouteKey};
use prost_reflect::{Cardinality, FieldDescriptor, Kind, MessageDescriptor};

/// The repeated ends of a batch RPC.
pub(super) struct Ends {
    /// The request's items.
    pub(super) items: FieldDescriptor,
    /// Type of the response's results.
    pub(super) result: MessageDescriptor,
}

/// How calls of `single` become one of `batch`.
pub(super) fn gather(single: &Draft, batch: &Draft, ends: &Ends, status: ItemStatus) -> Result<Gather, PolicyErrors> {
    let mut errors = Vec::new();
    let mut sink = Sink::new(&single.descriptor, &mut errors);
    let (item, shared) = request(&single.descriptor.input(), &batch.descriptor.input(), &ends.items, &mut sink);
    if let (Some(key), Some(there)) = (&single.policy.route_key, &batch.policy.route_key) {
        key_stays(key, there, ends.items.name(), &item, &shared, &mut sink);
    }
    let answer = answer(&single.descriptor.output(), &ends.result, status, &mut sink);
    if errors.is_empty() { Ok(Gather { item, shared, answer }) } else { Err(PolicyErrors(errors)) }
}

/// What of a single request becomes an item, and what stands beside the items.
fn request(
    single: &MessageDescriptor,
    batch: &MessageDescriptor,
    items: &FieldDescriptor,
    sink: &mut Sink<'_>,
) -> (Item, Vec<(u32, u32)>) {
    if items.kind() == Kind::Message(single.clone()) {
        return (Item::Request, Vec::new());
    }
    let field = named_like(items, single);
    let element = match items.kind() {
        Kind::Message(element) if field.is_none() => Some(element),
        _ => None,
    };
    let (mut made, mut shared, mut missing) = (Vec::new(), Vec::new(), Vec::new());
    for other in single.fields().filter(|other| Some(other) != field.as_ref()) {
        let inside = element.as_ref().and_then(|element| like(&other, element, &[]));
        let beside = like(&other, batch, &[items.number()]);
        made.extend(inside.map(|place| (other.number(), place)));
        shared.extend(beside.map(|place| (other.number(), place)));
        if inside.or(beside).is_none() {
            missing.push(not_in_batch(&other, batch));
        }
    }
    let item = match field {
        Some(field) => Item::Field(field.number()),
        None => Item::Fields(made),
    };
    if item == Item::Fields(Vec::new()) {
        missing = vec![Fault::NoItem { items: items.name().to_owned(), request: single.full_name().to_owned() }];
    }
    for fault in missing {
        sink.add("policy.batch.items", fault);
    }
    (item, shared)
}

/// The single request's user key must be the batch request's, where it comes to stand.
fn key_stays(key: &RouteKey, there: &RouteKey, items: &str, item: &Item, shared: &[(u32, u32)], sink: &mut Sink<'_>) {
    let (first, path) = (key.first_field(), key.path());
    let mut places = Vec::new();
    match item {
        Item::Request => places.push(format!("{items}.{path}")),
        Item::Field(field) if *field == first => {
            let rest = path.split_once('.').map(|(_, rest)| format!(".{rest}")).unwrap_or_default();
            places.push(format!("{items}{rest}"));
        }
        Item::Fields(made) if made.iter().any(|(field, _)| *field == first) => places.push(format!("{items}.{path}")),
        _ => {}
    }
    if shared.iter().any(|(field, _)| *field == first) {
        places.push(path.to_owned());
    }
    // Without a place it is reported as missing already.
    if !places.is_empty() && !places.iter().any(|place| place == there.path()) {
        let (key, becomes, batch) = (path.to_owned(), places.join("\" and \""), there.path().to_owned());
        sink.add("policy.batch.items", Fault::KeyElsewhere { key, becomes, batch });
    }
}

/// What of a result is the response.
fn answer(response: &MessageDescriptor, result: &MessageDescriptor, status: ItemStatus, sink: &mut Sink<'_>) -> Answer {
    // What is the status of a failure is not the response of a success.
    let taken = match status {
        ItemStatus::Code { code, message } => [code, message.unwrap_or(code)],
        ItemStatus::RpcStatus(field) => [field; 2],
    };
    let holds = |field: &FieldDescriptor| {
        let free = !taken.contains(&field.number()) && !field.is_list() && is_plain(field);
        free && field.kind() == Kind::Message(response.clone())
    };
    if let [held] = &*result.fields().filter(holds).collect::<Vec<_>>() {
        return Answer::Field(held.number());
    }
    let mut fields = Vec::new();
    for field in response.fields() {
        match like(&field, result, &taken) {
            Some(place) => fields.push((field.number(), place)),
            None => sink.add("policy.batch.results", not_in_batch(&field, result)),
        }
    }
    Answer::Fields(fields)
}

fn not_in_batch(field: &FieldDescriptor, batch: &MessageDescriptor) -> Fault {
    Fault::NotInBatch {
        field: field.name().to_owned(),
        message: field.parent_message().full_name().to_owned(),
        batch: batch.full_name().to_owned(),
    }
}

/// Number of a message's field with the name and type of `field`, unless it has another use.
fn like(field: &FieldDescriptor, message: &MessageDescriptor, taken: &[u32]) -> Option<u32> {
    let other = message.get_field_by_name(field.name()).filter(|other| !taken.contains(&other.number()))?;
    same_type(field, &other).then(|| other.number())
}

/// Whether what one field holds can be written into the other as it is. A value that is there but empty must not be lost
/// in a field that cannot tell.
fn same_type(a: &FieldDescriptor, b: &FieldDescriptor) -> bool {
    let entry = |field: &FieldDescriptor| match field.kind() {
        Kind::Message(entry) if field.is_map() => Some((entry.map_entry_key_field(), entry.map_entry_value_field())),
        _ => None,
    };
    match (entry(a), entry(b)) {
        (None, None) => {
            let told = b.supports_presence() || !a.supports_presence();
            a.kind() == b.kind() && a.is_list() == b.is_list() && told && is_plain(a) && is_plain(b)
        }
        (Some(a), Some(b)) => a.0.kind() == b.0.kind() && a.1.kind() == b.1.kind(),
        _ => false,
    }
}

/// Whether a field's bytes can stand under another number: a group's end repeats it.
fn is_plain(field: &FieldDescriptor) -> bool {
    !field.is_group()
}

/// The field of a message that is named like these items in the singular, and may hold one: for `skus` `sku`, for
/// `entries` `entry`, for `addresses` `address`.
pub(super) fn named_like(items: &FieldDescriptor, message: &MessageDescriptor) -> Option<FieldDescriptor> {
    let name = items.name();
    let singulars = [
        name.strip_suffix("ies").map(|stem| format!("{stem}y")),
        name.strip_suffix('s').map(str::to_owned),
        name.strip_suffix("es").map(str::to_owned),
        Some(name.to_owned()),
    ];
    let fits = |field: &FieldDescriptor| {
        field.kind() == items.kind() && field.cardinality() != Cardinality::Repeated && is_plain(field)
    };
    singulars.iter().flatten().filter_map(|name| message.get_field_by_name(name)).find(fits)
}
