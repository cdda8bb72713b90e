//! Keys from a message's wire bytes, with no full decode.

mod path;

use crate::{CanonicalKey, WireError};
use cell_map::KeyError;
use path::Value;
pub(crate) use path::{FieldPath, Kind, Step};

/// Most elements of a repeated route key in a method that no batch policy bounds.
pub const MAX_ELEMENTS: u32 = 1_000;

/// Longest idempotency key in bytes.
pub const MAX_IDEMPOTENCY_KEY: usize = 255;

/// Why no key can be read from a message. Each is the caller's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExtractError {
    /// The bytes are no protobuf message.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// A field on the path, or a map beside it, is encoded as another type than declared. Protobuf libraries differ in
    /// what they make of that (most take the field as unknown, prost refuses it unless it is a map), and two readers
    /// must not see two keys.
    #[error("field {field} is not encoded as its declared type")]
    WireType {
        /// Its number.
        field: u32,
    },
    /// A string is not UTF-8.
    #[error("field {field} is not UTF-8")]
    Utf8 {
        /// Its number.
        field: u32,
    },
    /// Longer than a user key may be.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The elements of a repeated key differ: see [`RouteKey::extract_all`].
    #[error("the message names several user keys")]
    Several,
    /// An element of a repeated key is empty, zero or has none.
    #[error("element {index} has an empty user key")]
    EmptyElement {
        /// Its position, from 0.
        index: usize,
    },
    /// More elements than allowed.
    #[error("more than {max} elements")]
    TooMany {
        /// How many are allowed.
        max: u32,
    },
    /// An idempotency key is longer than [`MAX_IDEMPOTENCY_KEY`].
    #[error("idempotency key has {0} bytes, at most {MAX_IDEMPOTENCY_KEY} are allowed")]
    LongIdempotencyKey(usize),
}

/// Where a request keeps its user key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteKey {
    path: FieldPath,
    /// The path's first field is repeated: each element has a key.
    repeated: bool,
    max_elements: u32,
}

impl RouteKey {
    pub(crate) const fn new(path: FieldPath, repeated: bool) -> Self {
        Self { path, repeated, max_elements: MAX_ELEMENTS }
    }

    pub(crate) const fn limit_elements(&mut self, max: u32) {
        self.max_elements = max;
    }

    /// The path by names, like `member.user_id`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path.name
    }

    /// Whether each element of a repeated field of the request has a key.
    #[must_use]
    pub const fn is_repeated(&self) -> bool {
        self.repeated
    }

    /// Number of the request's field where the path begins.
    #[must_use]
    pub fn first_field(&self) -> u32 {
        self.path.first()
    }

    /// The message's key: the last one, should the field or a message on its path occur more than once (protobuf merges
    /// them). `None` if it is absent, empty or zero. Allocates nothing; reads the whole message.
    ///
    /// # Errors
    /// If the bytes are no message, the key's field has another type or the key is too long. For a repeated key also if
    /// the elements differ ([`ExtractError::Several`]) or one is empty.
    #[inline]
    pub fn extract<'a>(&self, message: &'a [u8]) -> Result<Option<CanonicalKey<'a>>, ExtractError> {
        if !self.repeated {
            return self.path.last(message)?.map_or(Ok(None), canonical);
        }
        let mut only = None;
        self.each(message, |_, key| match only {
            Some(first) if first != key => Err(ExtractError::Several),
            _ => {
                only = Some(key);
                Ok(())
            }
        })?;
        Ok(only)
    }

    /// The keys of all elements, in order; of a key that is not repeated, that one.
    ///
    /// # Errors
    /// As for [`Self::extract`], but elements may differ; and if there are more than the batch policy's `max`
    /// ([`MAX_ELEMENTS`] without one).
    pub fn extract_all<'a>(&self, message: &'a [u8]) -> Result<Vec<CanonicalKey<'a>>, ExtractError> {
        if !self.repeated {
            return Ok(self.extract(message)?.into_iter().collect());
        }
        let mut keys = Vec::new();
        self.each(message, |index, key| {
            if index >= self.max_elements as usize {
                return Err(ExtractError::TooMany { max: self.max_elements });
            }
            keys.push(key);
            Ok(())
        })?;
        Ok(keys)
    }

    fn each<'a>(
        &self,
        message: &'a [u8],
        mut visit: impl FnMut(usize, CanonicalKey<'a>) -> Result<(), ExtractError>,
    ) -> Result<(), ExtractError> {
        let mut index = 0;
        self.path.each(message, |value| {
            let key = value.map_or(Ok(None), canonical)?.ok_or(ExtractError::EmptyElement { index })?;
            visit(index, key)?;
            index += 1;
            Ok(())
        })
    }
}

fn canonical(value: Value<'_>) -> Result<Option<CanonicalKey<'_>>, ExtractError> {
    Ok(match value {
        Value::Signed(value) => CanonicalKey::signed(value),
        Value::Unsigned(value) => CanonicalKey::unsigned(value),
        Value::Text(text) => CanonicalKey::borrowed(text.as_bytes())?,
        Value::Bytes(bytes) => CanonicalKey::borrowed(bytes)?,
    })
}

/// Where a request keeps its idempotency key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey {
    path: FieldPath,
}

impl IdempotencyKey {
    pub(crate) const fn new(path: FieldPath) -> Self {
        Self { path }
    }

    /// The path by names, like `request_id`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path.name
    }

    /// The message's key; `None` if absent or empty.
    ///
    /// # Errors
    /// If the bytes are no message, the key's field has another type, or the key is longer than
    /// [`MAX_IDEMPOTENCY_KEY`].
    pub fn extract<'a>(&self, message: &'a [u8]) -> Result<Option<&'a str>, ExtractError> {
        match self.path.last(message)? {
            Some(Value::Text(text)) if text.len() > MAX_IDEMPOTENCY_KEY => {
                Err(ExtractError::LongIdempotencyKey(text.len()))
            }
            Some(Value::Text(text)) if !text.is_empty() => Ok(Some(text)),
            _ => Ok(None),
        }
    }
}
