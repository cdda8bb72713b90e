//! The user key in metadata is a hint for routing: it may stand in for a missing key, never against the message's.

use crate::{error::MeshError, metadata::USER};
use mesh_policy::{ExtractError, RouteKey};

/// Whether a hint agrees with the key in the message: is it, or one of its elements' keys, or the message has none.
///
/// # Errors
/// BAD_REQUEST when it names another user, or no key can be read from the message.
pub fn check(route_key: &RouteKey, message: &[u8], hint: &[u8]) -> Result<(), MeshError> {
    let agrees = match route_key.extract(message) {
        Ok(key) => key.is_none_or(|key| *key == *hint),
        Err(ExtractError::Several) => {
            let keys = route_key.extract_all(message).map_err(|error| unreadable(route_key, error))?;
            keys.iter().any(|key| **key == *hint)
        }
        Err(error) => return Err(unreadable(route_key, error)),
    };
    if agrees {
        return Ok(());
    }
    let field = route_key.path();
    Err(MeshError::bad_request(format!("metadata \"{USER}\" contradicts field \"{field}\" of the message"))
        .violation(USER.as_str(), "names another user than the message"))
}

fn unreadable(route_key: &RouteKey, error: ExtractError) -> MeshError {
    MeshError::bad_request(format!("no user key can be read from the message: {error}"))
        .violation(route_key.path(), &error.to_string())
}
