//! User keys from fields (OWN-1): the typed twin of `mesh_policy::RouteKey`.

use crate::Key;
use cell_map::KeyError;
use mesh_policy::CanonicalKey;
use prost::bytes::Bytes;

/// The Rust type of a field that may hold a user key.
pub trait KeyField {
    /// Its key; `None` if it is absent, empty or zero.
    ///
    /// # Errors
    /// If it is longer than a key may be.
    fn key(&self) -> Result<Key<'_>, KeyError>;
}

/// The key in a field; `None` if it is absent, empty or zero.
///
/// # Errors
/// If it is longer than a key may be.
pub fn key<F: KeyField>(field: &F) -> Result<Key<'_>, KeyError> {
    field.key()
}

/// The key that all elements of a repeated key have. `None` without elements, and when they differ or one has none:
/// no cell is everybody's home then.
///
/// # Errors
/// If one is longer than a key may be.
pub fn common_key<'a>(mut keys: impl Iterator<Item = Result<Key<'a>, KeyError>>) -> Result<Key<'a>, KeyError> {
    let Some(first) = keys.next().transpose()?.flatten() else { return Ok(None) };
    for other in keys {
        if other? != Some(first) {
            return Ok(None);
        }
    }
    Ok(Some(first))
}

macro_rules! integers {
    ($make:ident: $($integer:ty),*) => {$(
        impl KeyField for $integer {
            fn key(&self) -> Result<Key<'_>, KeyError> {
                Ok(CanonicalKey::$make((*self).into()))
            }
        }
    )*};
}

integers!(signed: i32, i64);
integers!(unsigned: u32, u64);

impl KeyField for String {
    fn key(&self) -> Result<Key<'_>, KeyError> {
        CanonicalKey::borrowed(self.as_bytes())
    }
}

impl KeyField for Vec<u8> {
    fn key(&self) -> Result<Key<'_>, KeyError> {
        CanonicalKey::borrowed(self)
    }
}

impl KeyField for Bytes {
    fn key(&self) -> Result<Key<'_>, KeyError> {
        CanonicalKey::borrowed(self)
    }
}

impl<F: KeyField> KeyField for Option<F> {
    fn key(&self) -> Result<Key<'_>, KeyError> {
        self.as_ref().map_or(Ok(None), F::key)
    }
}
