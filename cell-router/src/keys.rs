//! The user keys of a call, from its message and its metadata.

use crate::method::Method;
use mesh_layers::{MeshError, metadata};
use mesh_policy::{CanonicalKey, ExtractError, Scope, check_message};
use std::borrow::Cow;

/// The user keys that a call names.
#[derive(Debug)]
pub enum Keys<'m> {
    /// None: the method's scope needs none.
    None,
    /// One, in the message.
    One(CanonicalKey<'m>),
    /// One, in metadata only.
    Hint(Cow<'m, [u8]>),
    /// Several different ones, in the order of the message's elements.
    Many(Vec<CanonicalKey<'m>>),
}

impl Keys<'_> {
    /// The key, if it is one.
    #[must_use]
    pub fn only(&self) -> Option<&[u8]> {
        match self {
            Self::None | Self::Many(_) => None,
            Self::One(key) => Some(key),
            Self::Hint(key) => Some(key),
        }
    }
}

/// The keys of a call of this method. The hint from metadata counts when the message has no key.
///
/// # Errors
/// BAD_REQUEST if the message cannot be read, names no user, or names another than the metadata.
pub fn keys<'m>(method: &Method, message: &'m [u8], hint: Option<Cow<'m, [u8]>>) -> Result<Keys<'m>, MeshError> {
    if method.policy.scope != Scope::User {
        return whole(message).map(|()| Keys::None);
    }
    let Some(route_key) = &method.policy.route_key else {
        whole(message)?;
        return hint.map(Keys::Hint).ok_or_else(|| {
            MeshError::bad_request("the call names no user: metadata \"cellmesh-user\" is absent")
                .violation(metadata::USER.as_str(), "is absent")
        });
    };
    let field = route_key.path();
    let bad = |error: ExtractError| {
        MeshError::bad_request(format!("no user key can be read from the message: {error}"))
            .violation(field, &error.to_string())
    };
    let keys = match route_key.extract(message) {
        Ok(Some(key)) => Keys::One(key),
        Ok(None) => return hint.map(Keys::Hint).ok_or_else(|| no_key(field)),
        Err(ExtractError::Several) => Keys::Many(route_key.extract_all(message).map_err(bad)?),
        Err(error) => return Err(bad(error)),
    };
    let agrees = hint.is_none_or(|hint| match &keys {
        Keys::One(key) => **key == *hint,
        Keys::Many(keys) => keys.iter().any(|key| **key == *hint),
        Keys::None | Keys::Hint(_) => true,
    });
    if agrees {
        return Ok(keys);
    }
    Err(MeshError::bad_request(format!("metadata \"cellmesh-user\" contradicts field \"{field}\" of the message"))
        .violation(metadata::USER.as_str(), "names another user than the message"))
}

/// What is no message is refused here, though no key is looked for.
fn whole(message: &[u8]) -> Result<(), MeshError> {
    check_message(message).map_err(|error| MeshError::bad_request(format!("the message is no protobuf: {error}")))
}

fn no_key(field: &str) -> MeshError {
    MeshError::bad_request(format!("field \"{field}\" names no user: it is empty, zero or absent"))
        .violation(field, "is empty, zero or absent")
}
