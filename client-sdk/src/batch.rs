//! Batch calls: how generated code makes one of many, and one of a part.
//!
//! [`ride`] puts single calls together, [`split`] takes the calls apart that a caller put together himself.

mod carriage;
mod lane;
mod send;
mod split;

pub(crate) use lane::{Lanes, ride};
pub(crate) use split::split;

use crate::{Error, Method, MethodPolicy, method::Key};
use cell_map::KeyError;

/// What went wrong with one item of a batch: gRPC code and message.
pub type ItemError = (i32, String);

/// What came of one item of a batch, or of all of a part's.
type ItemResult<M> = Result<<M as Method>::Response, ItemError>;
/// A part of a batch: the positions of its items, and what came of it.
type PartResult<M> = (Vec<usize>, ItemResult<M>);
type Responses<M> = fn(&[u8]) -> Result<Vec<ItemResult<M>>, prost::DecodeError>;
type Merge<M> = fn(&<M as Method>::Request, Vec<PartResult<M>>) -> Result<<M as Method>::Response, String>;
/// Takes the keys of a batch's items, one after another.
type EachKey<'a> = &'a mut dyn FnMut(Result<Key<'_>, KeyError>);

/// How single calls of `M` become a batch call. Made by generated code.
pub struct BatchGlue<M: Method> {
    /// Policy of the batch RPC.
    pub policy: &'static MethodPolicy,
    /// Whether two requests may share a batch: everything but the item is equal.
    pub joins: fn(&M::Request, &M::Request) -> bool,
    /// The encoded batch request of these encoded requests, which all join.
    pub request: fn(&[&[u8]]) -> Vec<u8>,
    /// The responses in an encoded batch response, one for each item, in order.
    pub responses: Responses<M>,
}

/// How a batch RPC whose items have keys of their own is split over cells. Made by generated code.
pub struct SplitGlue<M: Method> {
    /// Most items in one call.
    pub max: usize,
    /// Tells the key of each item, in order.
    pub keys: fn(&M::Request, EachKey<'_>),
    /// The request with the items at these positions only.
    pub select: fn(&M::Request, &[usize]) -> M::Request,
    /// One response for the whole request of the parts' responses, each with the positions of its items; items of a part
    /// that failed get results that say so. An error if a response has not one result for each item.
    pub merge: Merge<M>,
}

impl<M: Method> Clone for BatchGlue<M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M: Method> Copy for BatchGlue<M> {}

impl<M: Method> Clone for SplitGlue<M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M: Method> Copy for SplitGlue<M> {}

impl<M: Method> std::fmt::Debug for BatchGlue<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BatchGlue").field("policy", &self.policy.path).finish_non_exhaustive()
    }
}

impl<M: Method> std::fmt::Debug for SplitGlue<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SplitGlue").field("max", &self.max).finish_non_exhaustive()
    }
}

/// An item's failure as the caller sees it.
pub(crate) fn item_error((code, message): ItemError) -> Error {
    Error::new(crate::Code::from_number(code), message)
}

/// Whether the mesh says that a user's home is elsewhere or changing: of a call that names several users it may be said
/// of any.
fn is_about_home(error: &Error) -> bool {
    error.domain() == "cellmesh" && matches!(error.reason(), Some("WRONG_CELL" | "MOVING" | "MOVED"))
}

#[cfg(test)]
mod tests;
