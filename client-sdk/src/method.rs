//! A method as generated code describes it.

use crate::{BatchGlue, CallOptions, Code, Error, MethodPolicy, SplitGlue};
use cell_map::{KeyError, UserKey};
use mesh_policy::CanonicalKey;
use prost::Message;

/// The user key of a request in canonical bytes (OWN-1), borrowed from it; `None` if it is not set.
pub type Key<'a> = Option<CanonicalKey<'a>>;

/// One method of a service: its types, its policy, and where its request keeps what the mesh needs. Implemented by
/// generated code.
pub trait Method: Sized + Send + Sync + 'static {
    /// The request message.
    type Request: Message + Default + Clone + PartialEq + 'static;
    /// The response message.
    type Response: Message + Default + Clone + PartialEq + 'static;

    /// What its `.proto` says.
    const POLICY: MethodPolicy;
    /// How single calls become a batch call; `None` without a batch policy.
    const BATCH: Option<BatchGlue<Self>> = None;
    /// How a batch over several cells is split; `None` if it is no batch RPC whose items have keys of their own.
    const SPLIT: Option<SplitGlue<Self>> = None;

    /// The user key of a request; `None` for methods without one, and for a request of several users.
    ///
    /// # Errors
    /// If it is longer than a key may be: the message says how long.
    fn key(request: &Self::Request) -> Result<Key<'_>, KeyError> {
        let _ = request;
        Ok(None)
    }

    /// The field for the idempotency key. An empty one is filled with a UUID (version 7), the same for all attempts.
    fn idempotency_key(request: &mut Self::Request) -> Option<&mut String> {
        let _ = request;
        None
    }
}

/// What every request gets before it is sent: an idempotency key, if it has room for one. Returns its user key, and
/// whether it stands in metadata since the message has none.
///
/// # Errors
/// INVALID_ARGUMENT if the user key is longer than a key may be, or another one than the caller's.
pub(crate) fn prepare<M: Method>(
    request: &mut M::Request,
    options: &CallOptions,
) -> Result<(Option<UserKey>, bool), Error> {
    if let Some(id) = M::idempotency_key(request).filter(|id| id.is_empty()) {
        *id = uuid::Uuid::now_v7().to_string();
    }
    let bad = |why: String| Error::new(Code::InvalidArgument, why).in_method(M::POLICY.path);
    let key = M::key(request).map_err(|error| bad(error.to_string()))?.map(|key| key.to_user_key());
    match (key, &options.user_key) {
        (Some(key), Some(other)) if key != *other => {
            Err(bad("the user key given contradicts that of the message".to_owned()))
        }
        (None, Some(given)) => Ok((Some(given.clone()), true)),
        (key, _) => Ok((key, false)),
    }
}
