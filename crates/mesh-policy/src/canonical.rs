//! Canonical key bytes (OWN-1).

use cell_map::{KeyError, UserKey};
use std::{fmt, ops::Deref};

/// Longest decimal text of a 64-bit integer: `-9223372036854775808` and `18446744073709551615`.
const DIGITS: usize = 20;

/// A user key's canonical bytes: borrowed from the message for `string` and `bytes`, decimal ASCII held inline for
/// integers. Always a valid [`UserKey`]: neither empty nor `0`, at most [`UserKey::MAX_LEN`] bytes.
#[derive(Clone, Copy)]
pub struct CanonicalKey<'a>(Repr<'a>);

#[derive(Clone, Copy)]
enum Repr<'a> {
    Borrowed(&'a [u8]),
    /// The text stands at the end of the buffer, from `start`.
    Decimal {
        buffer: [u8; DIGITS],
        start: u8,
    },
}

impl<'a> CanonicalKey<'a> {
    /// The key of a `string` or `bytes` value; `None` if it says "not set".
    ///
    /// # Errors
    /// If it is longer than [`UserKey::MAX_LEN`].
    pub fn borrowed(bytes: &'a [u8]) -> Result<Option<Self>, KeyError> {
        match UserKey::check(bytes) {
            Ok(()) => Ok(Some(Self(Repr::Borrowed(bytes)))),
            Err(KeyError::Empty) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The key of a signed integer; `None` for 0.
    #[must_use]
    pub fn signed(value: i64) -> Option<Self> {
        Self::decimal(value.unsigned_abs(), value < 0)
    }

    /// The key of an unsigned integer; `None` for 0.
    #[must_use]
    pub fn unsigned(value: u64) -> Option<Self> {
        Self::decimal(value, false)
    }

    fn decimal(mut magnitude: u64, negative: bool) -> Option<Self> {
        if magnitude == 0 {
            return None;
        }
        let mut buffer = [0; DIGITS];
        let mut start = DIGITS;
        while magnitude > 0 {
            start -= 1;
            buffer[start] = b'0' + (magnitude % 10) as u8;
            magnitude /= 10;
        }
        if negative {
            start -= 1;
            buffer[start] = b'-';
        }
        Some(Self(Repr::Decimal { buffer, start: start as u8 }))
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Repr::Borrowed(bytes) => bytes,
            Repr::Decimal { buffer, start } => &buffer[usize::from(*start)..],
        }
    }

    /// A copy that owns its bytes.
    #[must_use]
    pub fn to_user_key(&self) -> UserKey {
        UserKey::from_bytes(self.as_bytes()).expect("checked when the key was extracted")
    }
}

impl Deref for CanonicalKey<'_> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl AsRef<[u8]> for CanonicalKey<'_> {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl PartialEq for CanonicalKey<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for CanonicalKey<'_> {}

impl From<CanonicalKey<'_>> for UserKey {
    fn from(key: CanonicalKey<'_>) -> Self {
        key.to_user_key()
    }
}

impl fmt::Display for CanonicalKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.as_bytes().escape_ascii())
    }
}

impl fmt::Debug for CanonicalKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CanonicalKey({self})")
    }
}
