//! Messages made of entropy, which proptest can shrink.

use client_sdk_generated::r#gen::shapes::v1::FILE_DESCRIPTOR_SET;
use mesh_policy::{MethodPolicy, PolicyTable};
use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value};
use std::sync::OnceLock;

/// What the protos say, by the mesh's own reading.
pub struct Schema {
    pub table: PolicyTable,
    pub pool: DescriptorPool,
}

pub fn schema() -> &'static Schema {
    static SCHEMA: OnceLock<Schema> = OnceLock::new();
    SCHEMA.get_or_init(|| {
        let table = PolicyTable::from_descriptor_sets([FILE_DESCRIPTOR_SET]).unwrap();
        Schema { table, pool: DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap() }
    })
}

pub fn policy(path: &str) -> &'static MethodPolicy {
    schema().table.method(path).unwrap()
}

/// The type of a method's request.
pub fn request(path: &str) -> MessageDescriptor {
    schema().pool.get_message_by_name(&policy(path).request).unwrap()
}

/// The type of a method's response.
pub fn response(path: &str) -> MessageDescriptor {
    schema().pool.get_message_by_name(&policy(path).response).unwrap()
}

/// Choices are drawn from these bytes; when they run out, every choice is the simplest.
pub struct Entropy<'a>(pub &'a [u8]);

impl Entropy<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    pub fn below(&mut self, n: usize) -> usize {
        usize::from(self.byte()) % n
    }

    fn number(&mut self) -> u64 {
        match self.below(6) {
            0 => 0,
            1 => 7,
            2 => u64::MAX,
            3 => i64::MAX as u64,
            4 => (1 << 31) + 7,
            _ => u64::from_le_bytes(std::array::from_fn(|_| self.byte())),
        }
    }

    fn text(&mut self) -> String {
        match self.below(8) {
            0 => String::new(),
            1 => "0".to_owned(),
            2 => "7".to_owned(),
            3 => "用户".to_owned(),
            4 => "x".repeat(254 + self.below(5)),
            n => "abc".repeat(n),
        }
    }

    /// A message with any of its fields.
    pub fn message(&mut self, of: &MessageDescriptor) -> DynamicMessage {
        self.nested(of, 0)
    }

    /// A message whose repeated fields have this many elements.
    pub fn message_with(&mut self, of: &MessageDescriptor, items: u32, count: usize) -> DynamicMessage {
        let mut message = self.message(of);
        let field = of.get_field(items).unwrap();
        let list = (0..count).map(|_| self.value(&field, 1)).collect();
        message.set_field(&field, Value::List(list));
        message
    }

    fn nested(&mut self, of: &MessageDescriptor, depth: usize) -> DynamicMessage {
        let mut message = DynamicMessage::new(of.clone());
        for field in of.fields() {
            if depth > 3 || self.below(4) == 0 {
                continue;
            }
            let value = if field.is_map() {
                let entry = field.kind().as_message().unwrap().map_entry_value_field();
                let keys = (0..self.below(3)).map(|_| MapKey::String(self.text())).collect::<Vec<_>>();
                Value::Map(keys.into_iter().map(|key| (key, self.value(&entry, depth + 1))).collect())
            } else if field.is_list() {
                Value::List((0..self.below(4)).map(|_| self.value(&field, depth + 1)).collect())
            } else {
                self.value(&field, depth + 1)
            };
            message.set_field(&field, value);
        }
        message
    }

    fn value(&mut self, field: &FieldDescriptor, depth: usize) -> Value {
        match field.kind() {
            Kind::Message(inner) => Value::Message(self.nested(&inner, depth)),
            Kind::Enum(_) => Value::EnumNumber(self.below(3) as i32),
            Kind::Bool => Value::Bool(self.below(2) == 1),
            Kind::Double => Value::F64(self.below(9) as f64),
            Kind::Float => Value::F32(self.below(9) as f32),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(self.number() as i32),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(self.number() as i64),
            Kind::Uint32 | Kind::Fixed32 => Value::U32(self.number() as u32),
            Kind::Uint64 | Kind::Fixed64 => Value::U64(self.number()),
            Kind::String => Value::String(self.text()),
            Kind::Bytes => Value::Bytes(self.text().into_bytes().into()),
        }
    }
}

/// Calls a generic function for each batch RPC of the shapes: with the single method and the batch method.
macro_rules! each_batch {
    ($check:ident($($argument:expr),*)) => {{
        use client_sdk_generated::r#gen::{old::v1::old_service_methods as old, shapes::v1::shape_service_methods as shapes};
        $check::<shapes::GetWhole, shapes::BatchGetWhole>($($argument),*);
        $check::<shapes::GetText, shapes::BatchGetText>($($argument),*);
        $check::<shapes::GetNumber, shapes::BatchGetNumber>($($argument),*);
        $check::<shapes::GetOrder, shapes::BatchGetOrders>($($argument),*);
        $check::<shapes::GetLine, shapes::BatchGetLines>($($argument),*);
        $check::<shapes::GetKeyed, shapes::BatchGetKeyed>($($argument),*);
        $check::<old::GetOld, old::BatchGetOld>($($argument),*);
    }};
}
