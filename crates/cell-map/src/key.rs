//! User keys in canonical bytes (OWN-1).

use std::fmt;

/// Longest key in bytes.
const MAX_LEN: usize = 256;

/// The string or integer that owns data, as canonical bytes: integers as decimal ASCII, strings as their UTF-8, bytes
/// raw. So `int64 7` and `string "7"` are one user (OWN-1).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserKey(Box<[u8]>);

/// Why a value is no user key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Absent, an empty string or the integer 0: protobuf cannot tell them from "not set".
    #[error("user key is empty, zero or absent")]
    Empty,
    /// Longer than 256 bytes.
    #[error("user key has {0} bytes, at most 256 are allowed")]
    TooLong(usize),
}

impl UserKey {
    /// Longest key in bytes.
    pub const MAX_LEN: usize = MAX_LEN;

    /// From canonical bytes, or the value of a `bytes` field.
    ///
    /// # Errors
    /// If empty, `0` or too long.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        Self::check(bytes)?;
        Ok(Self(bytes.into()))
    }

    /// From the value of a `string` field.
    ///
    /// # Errors
    /// If empty, `0` or too long.
    pub fn from_text(text: &str) -> Result<Self, KeyError> {
        Self::from_bytes(text.as_bytes())
    }

    /// From a signed integer.
    ///
    /// # Errors
    /// If 0.
    pub fn from_i64(value: i64) -> Result<Self, KeyError> {
        Self::from_text(&value.to_string())
    }

    /// From an unsigned integer.
    ///
    /// # Errors
    /// If 0.
    pub fn from_u64(value: u64) -> Result<Self, KeyError> {
        Self::from_text(&value.to_string())
    }

    /// Whether these canonical bytes may be a key, without copying them.
    ///
    /// # Errors
    /// If empty, `0` (integer zero and the text `0` are one value, OWN-1) or too long.
    pub const fn check(bytes: &[u8]) -> Result<(), KeyError> {
        match bytes {
            [] | [b'0'] => Err(KeyError::Empty),
            _ if bytes.len() > MAX_LEN => Err(KeyError::TooLong(bytes.len())),
            _ => Ok(()),
        }
    }

    /// The canonical bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The same as hexadecimal digits, for lists of keys in JSON.
    ///
    /// ```
    /// assert_eq!(cell_map::UserKey::from_text("u-1").unwrap().to_hex(), "752d31");
    /// ```
    #[must_use]
    pub fn to_hex(&self) -> String {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digits = self.0.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
    }
}

impl fmt::Display for UserKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

impl fmt::Debug for UserKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UserKey({self})")
    }
}
