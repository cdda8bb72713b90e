//! Tying a method to its batch RPC.

use super::gather::{Ends, gather, named_like};
use super::place::{key_kind, wrong};
use super::{Draft, Sink};
use crate::batch::{BatchOf, Echo, ItemStatus};
use crate::wire::WireType;
use crate::{BatchPolicy, Fault, PolicyError, options};
use prost_reflect::prost::encoding::WireType as ProstWireType;
use prost_reflect::{Cardinality, FieldDescriptor, Kind, MessageDescriptor};

/// Most items a batch policy may allow.
const MAX_ITEMS: u32 = 10_000;

/// Resolves every batch option among the methods of one service.
pub(super) fn link(drafts: &mut [Draft], errors: &mut Vec<PolicyError>) {
    for single in 0..drafts.len() {
        let Some(options) = drafts[single].batch.take() else { continue };
        let method = drafts[single].descriptor.clone();
        let mut sink = Sink::new(&method, errors);
        sink.range("policy.batch.max", options.max, 1, MAX_ITEMS);
        let Some(batch) = sink.take("policy.batch.rpc", partner(drafts, single, &options.rpc)) else { continue };
        check_same(&drafts[single], &drafts[batch], &options.rpc, &mut sink);
        let Some((mut of, ends)) = describe(&drafts[batch], &options, &mut sink) else { continue };
        let gather = gather(&drafts[single], &drafts[batch], &ends, of.status);
        drafts[single].policy.batch = Some(BatchPolicy {
            path: drafts[batch].policy.path.clone(),
            items: of.items(),
            results: of.results(),
            max: of.max(),
            gather,
        });
        let policy = &mut drafts[batch].policy;
        if let Some(other) = &policy.batch_of {
            of.single.clone_from(&other.single);
            if *other != of {
                let by = other.single.clone();
                sink.add("policy.batch", Fault::BatchConflict { rpc: options.rpc, by });
            }
            continue;
        }
        of.single = super::path(&method);
        if let Some(key) = policy.route_key.as_mut().filter(|key| key.is_repeated()) {
            key.limit_elements(of.max());
        }
        policy.batch_of = Some(of);
    }
}

/// The batch RPC's place among the service's methods.
fn partner(drafts: &[Draft], single: usize, rpc: &str) -> Result<usize, Fault> {
    let service = drafts[single].descriptor.parent_service();
    if rpc == drafts[single].descriptor.name() || !service.methods().any(|method| method.name() == rpc) {
        return Err(Fault::NoMethod { rpc: rpc.to_owned(), service: service.full_name().to_owned() });
    }
    let found = drafts.iter().position(|draft| draft.descriptor.name() == rpc);
    found.ok_or_else(|| Fault::BatchNotAnnotated(rpc.to_owned()))
}

fn check_same(single: &Draft, batch: &Draft, rpc: &str, sink: &mut Sink<'_>) {
    let differs = |what| Fault::BatchDiffers { rpc: rpc.to_owned(), what };
    if batch.policy.client_streaming || batch.policy.server_streaming {
        sink.add("policy.batch.rpc", Fault::Streaming);
    }
    if single.policy.scope != batch.policy.scope {
        sink.add("policy.batch.rpc", differs("scope"));
    }
    if single.policy.side_effects != batch.policy.side_effects {
        sink.add("policy.batch.rpc", differs("idempotency_level"));
    }
    if single.policy.route_key.is_some() && batch.policy.route_key.is_none() {
        sink.add("policy.batch.rpc", differs("place for the user key: none"));
    }
}

fn describe(batch: &Draft, options: &options::Batch, sink: &mut Sink<'_>) -> Option<(BatchOf, Ends)> {
    let request = batch.descriptor.input();
    let items = sink.take("policy.batch.items", repeated(&request, &options.items));
    let results = sink.take("policy.batch.results", repeated(&batch.descriptor.output(), &options.results));
    let (items, results) = (items?, results?);
    let Kind::Message(result) = results.kind() else {
        sink.add("policy.batch.results", wrong(&options.results, &results, "a repeated message"));
        return None;
    };
    if let Some(key) = batch.policy.route_key.as_ref().filter(|key| key.is_repeated())
        && key.first_field() != items.number()
    {
        let (items, key) = (options.items.clone(), key.path().to_owned());
        sink.add("policy.batch.items", Fault::KeyNotInItems { items, key });
    }
    let status = sink.take("policy.batch.results", status(&result))?;
    let of = BatchOf {
        single: String::new(),
        items: items.number(),
        item_wire: wire_type(&items.kind()),
        results: results.number(),
        max: options.max,
        status,
        echo: echo(&items, &result),
    };
    Some((of, Ends { items, result }))
}

fn repeated(message: &MessageDescriptor, name: &str) -> Result<FieldDescriptor, Fault> {
    let no_field = || Fault::NoField { path: name.to_owned(), message: message.full_name().to_owned() };
    let field = message.get_field_by_name(name).ok_or_else(no_field)?;
    if !field.is_list() || field.is_group() {
        return Err(wrong(name, &field, "a repeated field"));
    }
    Ok(field)
}

/// Where a result says how its item went.
fn status(result: &MessageDescriptor) -> Result<ItemStatus, Fault> {
    let single = |name: &str, kind: Kind| {
        let field = result.get_field_by_name(name)?;
        (field.kind() == kind && field.cardinality() != Cardinality::Repeated).then(|| field.number())
    };
    if let Some(code) = single("code", Kind::Int32) {
        return Ok(ItemStatus::Code { code, message: single("message", Kind::String) });
    }
    let is_status = |field: &FieldDescriptor| match field.kind() {
        Kind::Message(message) => message.full_name() == "google.rpc.Status" && !field.is_list() && !field.is_group(),
        _ => false,
    };
    let found: Vec<_> = result.fields().filter(is_status).collect();
    match &*found {
        [field] => Ok(ItemStatus::RpcStatus(field.number())),
        _ => Err(Fault::NoItemStatus(result.full_name().to_owned())),
    }
}

/// The field of a result that repeats its item, by the naming convention of AIP: items `skus`, field `sku`.
fn echo(items: &FieldDescriptor, result: &MessageDescriptor) -> Option<Echo> {
    key_kind(items)?;
    named_like(items, result).map(|field| Echo(field.number()))
}

fn wire_type(kind: &Kind) -> WireType {
    match kind.wire_type() {
        ProstWireType::Varint => WireType::Varint,
        ProstWireType::SixtyFourBit => WireType::Fixed64,
        ProstWireType::ThirtyTwoBit => WireType::Fixed32,
        ProstWireType::LengthDelimited | ProstWireType::StartGroup | ProstWireType::EndGroup => WireType::Len,
    }
}
