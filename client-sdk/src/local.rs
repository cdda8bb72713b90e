//! Logic that answers inside the client.
//!
//! A logic is a pure function of data that is kept here ([`crate::Feed`]) and a request. It is compiled in, never
//! downloaded, and the same crate runs in the service. What it says is advice: the server decides again in each write.

mod answer;
mod counts;
mod data;
mod fit;
mod locals;
mod shadow;
mod switch;
mod wall;

#[cfg(test)]
mod tests;

pub use counts::{LocalState, LocalStats, LogicStats};
pub use data::{Data, Global, PerUser};
pub(crate) use locals::{Locals, Logics};

use crate::{CallOptions, Method, Reply};

/// What local logic says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict<T> {
    /// This is the answer.
    Answer(T),
    /// The server knows better.
    Unsure,
}

/// Answers a method inside the client, from data that feeds keep there.
pub trait LocalLogic: Send + Sync + 'static {
    /// The method that it answers. Its policy names the logic and its major version.
    type Method: Method;
    /// What it looks at: [`Global`], [`PerUser`], a tuple of them, or nothing: `()`.
    type Data: Data;

    /// Its name, as in the method's policy.
    const NAME: &'static str;
    /// Its major version, as in the method's policy: what it answers.
    const MAJOR: u32;
    /// Its minor version: raised when an error is mended, so that a mesh can restrict the versions before.
    const MINOR: u32;
    /// Whether it looks at the time. If not, `now_ms` is 0 and no clock is read for it.
    const USES_TIME: bool = true;

    /// The answer. Pure: no I/O, no clock, no random numbers; the same data, time and request give the same verdict, here
    /// and in the service. What it does not know for certain, and what the server would refuse, is
    /// [`Verdict::Unsure`].
    ///
    /// `now_ms` is the time of day in milliseconds since 1970.
    fn eval(
        &self,
        data: <Self::Data as Data>::View<'_>,
        now_ms: i64,
        request: &<Self::Method as Method>::Request,
    ) -> Verdict<<Self::Method as Method>::Response>;
}

/// A logic with its data, as the ladder asks it.
pub(crate) trait Evaluator<M: Method>: Send + Sync + 'static {
    /// The answer, if the logic is on, its data is fresh enough and it is sure. Waits for nothing, and allocates nothing
    /// but what the logic does; one answer in some thousand is also compared with the server's, behind the caller's back.
    fn answer(&self, request: &M::Request, options: &CallOptions) -> Option<Reply<M::Response>>;

    /// The answer by data past its lease but within what `StaleIfError` allows, after the mesh failed to answer.
    fn stale(&self, request: &M::Request, options: &CallOptions) -> Option<Reply<M::Response>>;
}
