//! A path of field numbers through messages to a scalar.

use super::ExtractError;
use crate::wire::{Reader, Tag, WireType};

/// Scalar types a key may have. `bool` and enums name no user, floats are no identities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Int32,
    Int64,
    Uint32,
    Uint64,
    Sint32,
    Sint64,
    Fixed32,
    Fixed64,
    Sfixed32,
    Sfixed64,
    String,
    Bytes,
}

/// A scalar read from a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Signed(i64),
    Unsigned(u64),
    Text(&'a str),
    Bytes(&'a [u8]),
}

/// A path through messages to a scalar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FieldPath {
    /// By names, dotted.
    pub(crate) name: Box<str>,
    /// At least one; all but the last are message fields.
    pub(crate) steps: Box<[Step]>,
    /// Type of the last.
    pub(crate) kind: Kind,
}

/// One field on a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// Its number.
    pub(crate) field: u32,
    /// Numbers of the map fields of its message. prost takes them for length-delimited whatever their tag says, so a tag
    /// that lies would make prost see other fields after it than we do: it is refused.
    pub(crate) maps: Box<[u32]>,
}

impl FieldPath {
    /// Number of the first field.
    pub(crate) fn first(&self) -> u32 {
        self.steps[0].field
    }

    /// The last value at the path's end, over all occurrences of every field on it; reads the message to its end.
    #[inline]
    pub(crate) fn last<'a>(&self, message: &'a [u8]) -> Result<Option<Value<'a>>, ExtractError> {
        let mut last = None;
        self.scan(&self.steps, message, &mut last)?;
        Ok(last)
    }

    /// The same for each element of the repeated field the path begins with.
    pub(crate) fn each<'a>(
        &self,
        message: &'a [u8],
        mut visit: impl FnMut(Option<Value<'a>>) -> Result<(), ExtractError>,
    ) -> Result<(), ExtractError> {
        let (step, inner) = (&self.steps[0], &self.steps[1..]);
        let mut reader = Reader::new(message);
        while let Some(tag) = reader.tag()? {
            if tag.number != step.field {
                step.pass_over(&mut reader, tag)?;
            } else if !inner.is_empty() {
                let mut last = None;
                self.scan(inner, sub_message(&mut reader, tag)?, &mut last)?;
                visit(last)?;
            } else if tag.wire == WireType::Len && self.kind.is_packable() {
                let mut packed = Reader::new(reader.bytes()?);
                while !packed.rest().is_empty() {
                    visit(Some(self.kind.read(&mut packed, tag.number)?))?;
                }
            } else {
                visit(Some(self.value(&mut reader, tag)?))?;
            }
        }
        Ok(())
    }

    fn scan<'a>(&self, steps: &[Step], message: &'a [u8], last: &mut Option<Value<'a>>) -> Result<(), ExtractError> {
        let (step, inner) = (&steps[0], &steps[1..]);
        let mut reader = Reader::new(message);
        while let Some(tag) = reader.tag()? {
            if tag.number != step.field {
                step.pass_over(&mut reader, tag)?;
            } else if inner.is_empty() {
                *last = Some(self.value(&mut reader, tag)?);
            } else {
                self.scan(inner, sub_message(&mut reader, tag)?, last)?;
            }
        }
        Ok(())
    }

    #[inline]
    fn value<'a>(&self, reader: &mut Reader<'a>, tag: Tag) -> Result<Value<'a>, ExtractError> {
        if tag.wire != self.kind.wire_type() {
            return Err(ExtractError::WireType { field: tag.number });
        }
        self.kind.read(reader, tag.number)
    }
}

impl Step {
    /// Passes over a field beside this one.
    #[inline]
    fn pass_over(&self, reader: &mut Reader<'_>, tag: Tag) -> Result<(), ExtractError> {
        if tag.wire != WireType::Len && self.maps.contains(&tag.number) {
            return Err(ExtractError::WireType { field: tag.number });
        }
        Ok(reader.skip(tag)?)
    }
}

fn sub_message<'a>(reader: &mut Reader<'a>, tag: Tag) -> Result<&'a [u8], ExtractError> {
    if tag.wire != WireType::Len {
        return Err(ExtractError::WireType { field: tag.number });
    }
    Ok(reader.bytes()?)
}

impl Kind {
    pub(crate) const fn wire_type(self) -> WireType {
        match self {
            Self::Int32 | Self::Int64 | Self::Uint32 | Self::Uint64 | Self::Sint32 | Self::Sint64 => WireType::Varint,
            Self::Fixed32 | Self::Sfixed32 => WireType::Fixed32,
            Self::Fixed64 | Self::Sfixed64 => WireType::Fixed64,
            Self::String | Self::Bytes => WireType::Len,
        }
    }

    const fn is_packable(self) -> bool {
        !matches!(self, Self::String | Self::Bytes)
    }

    /// Reads a value. 32-bit types keep the low half of a longer varint, as every protobuf library does.
    #[inline]
    fn read<'a>(self, reader: &mut Reader<'a>, field: u32) -> Result<Value<'a>, ExtractError> {
        Ok(match self {
            Self::Int32 => Value::Signed(i64::from(reader.varint()? as i32)),
            Self::Int64 => Value::Signed(reader.varint()? as i64),
            Self::Uint32 => Value::Unsigned(u64::from(reader.varint()? as u32)),
            Self::Uint64 => Value::Unsigned(reader.varint()?),
            Self::Sint32 => Value::Signed(zigzag(u64::from(reader.varint()? as u32))),
            Self::Sint64 => Value::Signed(zigzag(reader.varint()?)),
            Self::Fixed32 => Value::Unsigned(u64::from(reader.fixed32()?)),
            Self::Sfixed32 => Value::Signed(i64::from(reader.fixed32()? as i32)),
            Self::Fixed64 => Value::Unsigned(reader.fixed64()?),
            Self::Sfixed64 => Value::Signed(reader.fixed64()? as i64),
            Self::String => {
                let text = std::str::from_utf8(reader.bytes()?);
                Value::Text(text.map_err(|_| ExtractError::Utf8 { field })?)
            }
            Self::Bytes => Value::Bytes(reader.bytes()?),
        })
    }
}

const fn zigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}
