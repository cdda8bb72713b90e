//! Values as every engine stores them, so that this crate's own SQL is written once.

use crate::StorageError;

/// A column's value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// SQL NULL.
    Null,
    /// A 64-bit integer.
    Integer(i64),
    /// A double.
    Real(f64),
    /// Text.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
}

impl Value {
    /// An unsigned number; databases have no unsigned 64-bit integers.
    ///
    /// # Errors
    /// Past 2^63 − 1.
    pub fn unsigned(number: u64) -> Result<Self, StorageError> {
        i64::try_from(number)
            .map(Self::Integer)
            .map_err(|_| StorageError::Corrupt(format!("number {number} does not fit into a column")))
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl From<&[u8]> for Value {
    fn from(value: &[u8]) -> Self {
        Self::Blob(value.to_vec())
    }
}

impl From<Vec<u8>> for Value {
    fn from(value: Vec<u8>) -> Self {
        Self::Blob(value)
    }
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// One row of a result, taken column by column from the left.
#[derive(Debug)]
pub struct Row(std::vec::IntoIter<Value>);

impl Row {
    /// A row of these values.
    #[must_use]
    pub fn new(values: Vec<Value>) -> Self {
        Self(values.into_iter())
    }

    /// What is left of it.
    #[must_use]
    pub fn into_values(self) -> Vec<Value> {
        self.0.collect()
    }

    fn next(&mut self) -> Result<Value, StorageError> {
        self.0.next().ok_or_else(|| StorageError::Corrupt("a row has fewer columns than its query names".into()))
    }

    /// The next column, an integer or NULL.
    ///
    /// # Errors
    /// If it is anything else.
    pub fn optional_integer(&mut self) -> Result<Option<i64>, StorageError> {
        match self.next()? {
            Value::Null => Ok(None),
            Value::Integer(number) => Ok(Some(number)),
            other => Err(unexpected("an integer", &other)),
        }
    }

    /// The next column, an integer.
    ///
    /// # Errors
    /// If it is anything else.
    pub fn integer(&mut self) -> Result<i64, StorageError> {
        self.optional_integer()?.ok_or_else(|| unexpected("an integer", &Value::Null))
    }

    /// The next column, an integer that is not negative, or NULL.
    ///
    /// # Errors
    /// If it is anything else.
    pub fn optional_unsigned(&mut self) -> Result<Option<u64>, StorageError> {
        self.optional_integer()?
            .map(|number| {
                u64::try_from(number).map_err(|_| unexpected("a number that is not negative", &Value::Integer(number)))
            })
            .transpose()
    }

    /// The next column, an integer that is not negative.
    ///
    /// # Errors
    /// If it is anything else.
    pub fn unsigned(&mut self) -> Result<u64, StorageError> {
        self.optional_unsigned()?.ok_or_else(|| unexpected("an integer", &Value::Null))
    }

    /// The next column, text or NULL.
    ///
    /// # Errors
    /// If it is anything else.
    pub fn optional_text(&mut self) -> Result<Option<String>, StorageError> {
        match self.next()? {
            Value::Null => Ok(None),
            Value::Text(text) => Ok(Some(text)),
            other => Err(unexpected("text", &other)),
        }
    }

    /// The next column, text.
    ///
    /// # Errors
    /// If it is anything else.
    pub fn text(&mut self) -> Result<String, StorageError> {
        self.optional_text()?.ok_or_else(|| unexpected("text", &Value::Null))
    }

    /// The next column, bytes.
    ///
    /// # Errors
    /// If it is anything else.
    pub fn blob(&mut self) -> Result<Vec<u8>, StorageError> {
        match self.next()? {
            Value::Blob(bytes) => Ok(bytes),
            other => Err(unexpected("bytes", &other)),
        }
    }
}

fn unexpected(wanted: &str, found: &Value) -> StorageError {
    StorageError::Corrupt(format!("expected {wanted}, found {found:?}"))
}
