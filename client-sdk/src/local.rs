//! Logic that answers inside the client.

use crate::{CallOptions, Method, Reply};

/// What local logic says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict<T> {
    /// This is the answer.
    Answer(T),
    /// The server knows better.
    Unsure,
}

/// A logic with its data, as the ladder asks it. (The registered logic of a method: see `LocalLogic`.)
pub(crate) trait Evaluator<M: Method>: Send + Sync + 'static {
    /// The answer, if the logic is on, its data is fresh enough and it is sure. Allocates nothing, waits for nothing.
    fn answer(&self, request: &M::Request, options: &CallOptions) -> Option<Reply<M::Response>>;

    /// The answer by data past its lease but within what `StaleIfError` allows, after the mesh failed to answer.
    fn stale(&self, request: &M::Request, options: &CallOptions) -> Option<Reply<M::Response>>;
}
