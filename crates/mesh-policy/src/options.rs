//! Reading `cellmesh/policy/v1/policy.proto`'s options from descriptors.

use crate::Fault;
use crate::sets::{Set, fields};
use crate::wire::{Reader, WireType};
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor, Value,
};

/// `policy` extends `MethodOptions` under this number.
const POLICY: u32 = 76_501;
/// `route_key` extends `FieldOptions` under this number.
const ROUTE_KEY: u32 = 76_502;
/// `MethodDescriptorProto.options`.
const METHOD_OPTIONS: u32 = 4;
/// `FieldDescriptorProto.options`.
const FIELD_OPTIONS: u32 = 8;

/// `cellmesh.policy.v1.MethodPolicy` as written.
pub(crate) struct Policy {
    pub(crate) scope: i32,
    pub(crate) criticality: i32,
    pub(crate) default_deadline_ms: u32,
    pub(crate) max_deadline_ms: u32,
    pub(crate) max_request_bytes: u32,
    pub(crate) idempotency_key: String,
    pub(crate) batch: Option<Batch>,
    pub(crate) cache: Option<Cache>,
    pub(crate) hedge: Option<u32>,
    pub(crate) local_logic: Option<(String, u32)>,
    pub(crate) rate_class: String,
}

/// `BatchPolicy` as written.
pub(crate) struct Batch {
    pub(crate) rpc: String,
    pub(crate) items: String,
    pub(crate) results: String,
    pub(crate) max: u32,
}

/// `CachePolicy` as written.
pub(crate) struct Cache {
    pub(crate) ttl_ms: u32,
    pub(crate) key_fields: Vec<String>,
    pub(crate) tags: Vec<String>,
    pub(crate) negative_ttl_ms: u32,
}

/// The type of the `policy` option in this set; `None` if the set does not import it.
pub(crate) fn policy_type(pool: &DescriptorPool) -> Result<Option<MessageDescriptor>, Fault> {
    let Some(policy) = pool.get_extension_by_name("cellmesh.policy.v1.policy") else { return Ok(None) };
    let kind = policy.kind();
    let message = kind.as_message().filter(|m| m.full_name() == "cellmesh.policy.v1.MethodPolicy");
    let extends = policy.containing_message();
    match message {
        Some(message)
            if policy.number() == POLICY
                && !policy.is_list()
                && !policy.is_group()
                && extends.full_name() == "google.protobuf.MethodOptions" =>
        {
            Ok(Some(message.clone()))
        }
        _ => Err(Fault::Foreign(format!("policy extends {} as field {}", extends.full_name(), policy.number()))),
    }
}

/// The policy a method is annotated with.
pub(crate) fn policy(
    set: &Set<'_>,
    of: &MessageDescriptor,
    method: &MethodDescriptor,
) -> Result<Option<Policy>, Fault> {
    let malformed = |error: &dyn std::fmt::Display| Fault::Malformed(error.to_string());
    let options = set.options(method.parent_file().name(), method.path(), METHOD_OPTIONS).map_err(|e| malformed(&e))?;
    let mut bytes = None;
    for part in fields(&options, POLICY) {
        bytes.get_or_insert_with(Vec::new).extend_from_slice(part.map_err(|e| malformed(&e))?);
    }
    let Some(bytes) = bytes else { return Ok(None) };
    let message = DynamicMessage::decode(of.clone(), &*bytes).map_err(|e| malformed(&e))?;
    Policy::read(&Options(message)).map(Some)
}

/// Whether a field is marked as (the way to) the user key.
pub(crate) fn is_route_key(set: &Set<'_>, field: &FieldDescriptor) -> Result<bool, Fault> {
    let read = || {
        let options = set.options(field.parent_file().name(), field.path(), FIELD_OPTIONS)?;
        let mut reader = Reader::new(&options);
        let mut marked = false;
        while let Some(tag) = reader.tag()? {
            if tag.number == ROUTE_KEY && tag.wire == WireType::Varint {
                marked = reader.varint()? != 0;
            } else {
                reader.skip(tag)?;
            }
        }
        Ok(marked)
    };
    read().map_err(|error: crate::WireError| Fault::Malformed(error.to_string()))
}

/// Whether `route_key` in this set is ours; numbers of custom options are free for anyone to take.
pub(crate) fn check_route_key(pool: &DescriptorPool) -> Result<(), Fault> {
    match pool.get_extension_by_name("cellmesh.policy.v1.route_key") {
        Some(mark)
            if mark.number() == ROUTE_KEY
                && mark.kind() == Kind::Bool
                && !mark.is_list()
                && mark.containing_message().full_name() == "google.protobuf.FieldOptions" =>
        {
            Ok(())
        }
        _ => Err(Fault::Foreign(format!("route_key is no bool that extends FieldOptions as field {ROUTE_KEY}"))),
    }
}

impl Policy {
    fn read(options: &Options) -> Result<Self, Fault> {
        options.only(&[
            "scope",
            "criticality",
            "default_deadline_ms",
            "max_deadline_ms",
            "max_request_bytes",
            "idempotency_key",
            "batch",
            "cache",
            "hedge",
            "local_logic",
            "rate_class",
        ])?;
        Ok(Self {
            scope: options.enumeration("scope")?,
            criticality: options.enumeration("criticality")?,
            default_deadline_ms: options.number("default_deadline_ms")?,
            max_deadline_ms: options.number("max_deadline_ms")?,
            max_request_bytes: options.number("max_request_bytes")?,
            idempotency_key: options.text("idempotency_key")?,
            batch: options.message("batch")?.map(|batch| Batch::read(&batch)).transpose()?,
            cache: options.message("cache")?.map(|cache| Cache::read(&cache)).transpose()?,
            hedge: match options.message("hedge")? {
                Some(hedge) => {
                    hedge.only(&["max_extra_permille"])?;
                    Some(hedge.number("max_extra_permille")?)
                }
                None => None,
            },
            local_logic: match options.message("local_logic")? {
                Some(logic) => {
                    logic.only(&["name", "major"])?;
                    Some((logic.text("name")?, logic.number("major")?))
                }
                None => None,
            },
            rate_class: options.text("rate_class")?,
        })
    }
}

impl Batch {
    fn read(options: &Options) -> Result<Self, Fault> {
        options.only(&["rpc", "items", "results", "max"])?;
        Ok(Self {
            rpc: options.text("rpc")?,
            items: options.text("items")?,
            results: options.text("results")?,
            max: options.number("max")?,
        })
    }
}

impl Cache {
    fn read(options: &Options) -> Result<Self, Fault> {
        options.only(&["ttl_ms", "key_fields", "tags", "negative_ttl_ms"])?;
        Ok(Self {
            ttl_ms: options.number("ttl_ms")?,
            key_fields: options.texts("key_fields")?,
            tags: options.texts("tags")?,
            negative_ttl_ms: options.number("negative_ttl_ms")?,
        })
    }
}

/// One option message. A field that this set's policy.proto does not have yet reads as not set; one that only a newer
/// policy.proto has is refused, since ignoring a policy is no way to keep it.
struct Options(DynamicMessage);

impl Options {
    fn only(&self, known: &[&str]) -> Result<(), Fault> {
        if let Some((field, _)) = self.0.fields().find(|(field, _)| !known.contains(&field.name())) {
            return Err(Fault::UnknownOption(field.name().to_owned()));
        }
        match self.0.unknown_fields().next() {
            Some(field) => Err(Fault::UnknownOption(format!("field {}", field.number()))),
            None => Ok(()),
        }
    }

    fn get<T>(&self, name: &str, read: impl FnOnce(&Value) -> Option<T>) -> Result<Option<T>, Fault> {
        let Some(value) = self.0.get_field_by_name(name) else { return Ok(None) };
        read(&value).map(Some).ok_or_else(|| Fault::Foreign(format!("field \"{name}\" has another type")))
    }

    fn number(&self, name: &str) -> Result<u32, Fault> {
        Ok(self.get(name, Value::as_u32)?.unwrap_or_default())
    }

    fn enumeration(&self, name: &str) -> Result<i32, Fault> {
        Ok(self.get(name, Value::as_enum_number)?.unwrap_or_default())
    }

    fn text(&self, name: &str) -> Result<String, Fault> {
        Ok(self.get(name, |value| value.as_str().map(str::to_owned))?.unwrap_or_default())
    }

    fn texts(&self, name: &str) -> Result<Vec<String>, Fault> {
        let texts = |value: &Value| value.as_list()?.iter().map(|text| text.as_str().map(str::to_owned)).collect();
        Ok(self.get(name, texts)?.unwrap_or_default())
    }

    fn message(&self, name: &str) -> Result<Option<Self>, Fault> {
        if !self.0.has_field_by_name(name) {
            return Ok(None);
        }
        self.get(name, |value| value.as_message().cloned().map(Self))
    }
}
