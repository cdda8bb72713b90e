//! A method as generated code describes it.

use crate::{BatchGlue, MethodPolicy, SplitGlue};
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

    /// The user key of a request; `None` for methods without one.
    ///
    /// # Errors
    /// If it is longer than a key may be: the message says how long.
    fn key(request: &Self::Request) -> Result<Key<'_>, cell_map::KeyError> {
        let _ = request;
        Ok(None)
    }

    /// The field for the idempotency key. An empty one is filled with a UUID (version 7), the same for all attempts.
    fn idempotency_key(request: &mut Self::Request) -> Option<&mut String> {
        let _ = request;
        None
    }
}
