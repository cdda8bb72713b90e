//! Reading and writing protobuf's wire format without knowing the schema.
//!
//! Refuses what prost refuses: varints past 64 bits, field number 0, wire types 6 and 7, lengths past the end, groups
//! that do not match or nest deeper than [`MAX_DEPTH`].

/// Deepest nesting of groups and messages, prost's limit too.
pub(crate) const MAX_DEPTH: u32 = 100;

/// Why bytes are no protobuf message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The bytes end inside a field.
    #[error("message ends inside a field")]
    Truncated,
    /// A varint has more than 64 bits.
    #[error("varint has more than 64 bits")]
    Varint,
    /// A field's tag has number 0, a number above 2^29 − 1 or wire type 6 or 7.
    #[error("field tag {0} is none: numbers are 1 to 536870911, wire types 0 to 5")]
    Tag(u64),
    /// A group's end has no start, or another number than the start.
    #[error("group ends that was not open")]
    Group,
    /// Too deep.
    #[error("groups nest deeper than {MAX_DEPTH}")]
    Depth,
}

/// How a field's value is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireType {
    /// Base 128, up to ten bytes.
    Varint,
    /// Eight bytes.
    Fixed64,
    /// A length and that many bytes.
    Len,
    /// Fields up to a matching [`WireType::EndGroup`].
    StartGroup,
    /// Ends a group.
    EndGroup,
    /// Four bytes.
    Fixed32,
}

/// One field's tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tag {
    pub(crate) number: u32,
    pub(crate) wire: WireType,
}

/// Whether bytes are a protobuf message, of whatever type: fields from end to end. What stands inside of its fields is not
/// looked at. Allocates nothing.
///
/// # Errors
/// If they are none.
pub fn check_message(message: &[u8]) -> Result<(), WireError> {
    let mut reader = Reader::new(message);
    while let Some(tag) = reader.tag()? {
        reader.skip(tag)?;
    }
    Ok(())
}

/// Reads fields from the front of a message.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// What is not read yet.
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// What was read since the reader stood at `earlier`.
    pub(crate) fn since(&self, earlier: &Self) -> &'a [u8] {
        &earlier.rest[..earlier.rest.len() - self.rest.len()]
    }

    /// The next field's tag; `None` at the end.
    #[inline]
    pub(crate) fn tag(&mut self) -> Result<Option<Tag>, WireError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let number = u32::try_from(tag).map_err(|_| WireError::Tag(tag))? >> 3;
        let wire = match tag & 7 {
            0 => WireType::Varint,
            1 => WireType::Fixed64,
            2 => WireType::Len,
            3 => WireType::StartGroup,
            4 => WireType::EndGroup,
            5 => WireType::Fixed32,
            _ => return Err(WireError::Tag(tag)),
        };
        if number == 0 {
            return Err(WireError::Tag(tag));
        }
        Ok(Some(Tag { number, wire }))
    }

    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u64, WireError> {
        match self.rest {
            [] => Err(WireError::Truncated),
            [byte, rest @ ..] if *byte < 0x80 => {
                self.rest = rest;
                Ok(u64::from(*byte))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, WireError> {
        let mut value = 0;
        for (at, byte) in self.rest.iter().enumerate().take(10) {
            value |= u64::from(byte & 0x7f) << (7 * at);
            if *byte < 0x80 {
                // The tenth byte holds the 64th bit alone.
                if at == 9 && *byte > 1 {
                    return Err(WireError::Varint);
                }
                self.rest = &self.rest[at + 1..];
                return Ok(value);
            }
        }
        Err(if self.rest.len() < 10 { WireError::Truncated } else { WireError::Varint })
    }

    pub(crate) fn fixed32(&mut self) -> Result<u32, WireError> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(u32::from_le_bytes(*bytes))
    }

    pub(crate) fn fixed64(&mut self) -> Result<u64, WireError> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(u64::from_le_bytes(*bytes))
    }

    /// A length and that many bytes.
    #[inline]
    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], WireError> {
        let len = usize::try_from(self.varint()?).map_err(|_| WireError::Truncated)?;
        let (bytes, rest) = self.rest.split_at_checked(len).ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(bytes)
    }

    /// Passes over the value of the field with this tag.
    #[inline]
    pub(crate) fn skip(&mut self, tag: Tag) -> Result<(), WireError> {
        self.skip_nested(tag, MAX_DEPTH)
    }

    fn skip_nested(&mut self, tag: Tag, depth: u32) -> Result<(), WireError> {
        match tag.wire {
            WireType::Varint => self.varint().map(drop),
            WireType::Fixed64 => self.fixed64().map(drop),
            WireType::Len => self.bytes().map(drop),
            WireType::Fixed32 => self.fixed32().map(drop),
            WireType::StartGroup => self.skip_group(tag.number, depth),
            WireType::EndGroup => Err(WireError::Group),
        }
    }

    fn skip_group(&mut self, number: u32, depth: u32) -> Result<(), WireError> {
        let inner = depth.checked_sub(1).ok_or(WireError::Depth)?;
        loop {
            let tag = self.tag()?.ok_or(WireError::Truncated)?;
            match tag.wire {
                WireType::EndGroup if tag.number == number => return Ok(()),
                _ => self.skip_nested(tag, inner)?,
            }
        }
    }
}

/// Appends a varint.
pub(crate) fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a tag.
pub(crate) fn put_tag(number: u32, wire: WireType, out: &mut Vec<u8>) {
    let wire = match wire {
        WireType::Varint => 0,
        WireType::Fixed64 => 1,
        WireType::Len => 2,
        WireType::StartGroup => 3,
        WireType::EndGroup => 4,
        WireType::Fixed32 => 5,
    };
    put_varint(u64::from(number) << 3 | wire, out);
}

/// Appends a field of wire type [`WireType::Len`].
pub(crate) fn put_bytes(number: u32, value: &[u8], out: &mut Vec<u8>) {
    put_tag(number, WireType::Len, out);
    put_varint(value.len() as u64, out);
    out.extend_from_slice(value);
}
