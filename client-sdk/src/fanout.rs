//! Parallel calls with core and optional parts under one deadline.

use crate::{Error, Reply, ladder};
use futures_util::future::BoxFuture;
use std::{
    future::{IntoFuture, poll_fn},
    task::{Context, Poll},
    time::{Duration, Instant},
};

tokio::task_local! {
    static ENDS: Instant;
}

/// Makes several calls at once, some of them core and some optional, and gives what they answer by name.
///
/// It is a future of a `Result`: a value with a field for each part, which holds the part's response message, and the
/// field `degraded` ([`Degraded`]). If a core part fails, the others are cancelled and the error names part and cell. An
/// optional part that fails, or is not there when the deadline has come, gets the default behind its `=>`, and is named
/// in `degraded` with its error. Both lists may be empty. A part is any future of a `Result<Reply<T>, Error>`, like a
/// call, and one that is `Send`; calls made inside it end with the fan-out's deadline.
///
/// ```ignore
/// let page = client_sdk::fanout!(
///     deadline = Duration::from_millis(80);
///     core: user = members.get_member(get), cart = carts.get_cart(of);
///     optional: liked = follow.is_following(pair) => IsFollowingResponse::default()
/// )
/// .await?;
/// println!("{} likes it: {}, without {:?}", page.user.name, page.liked.following, page.degraded);
/// ```
#[macro_export]
macro_rules! fanout {
    (
        $(deadline = $deadline:expr;)?
        core: $($core:ident = $call:expr),* $(,)?
        $(; optional: $($optional:ident = $try:expr => $default:expr),* $(,)?)? $(;)?
    ) => {
        async {
            // Not every caller reads every part.
            #[allow(non_camel_case_types, dead_code)]
            struct Fanout<$($core,)* $($($optional,)*)?> {
                $($core: $core,)*
                $($($optional: $optional,)*)?
                degraded: ::std::vec::Vec<$crate::Degraded>,
            }
            let deadline = ::std::option::Option::<::std::time::Duration>::None
                $(.or(::std::option::Option::Some($deadline)))?;
            $(let mut $core = $crate::generated::Part::core(::std::stringify!($core), $call);)*
            $($(let mut $optional = $crate::generated::Part::optional(::std::stringify!($optional), $try);)*)?
            $crate::generated::fan_out(deadline, &mut [$(&mut $core,)* $($(&mut $optional,)*)?]).await?;
            #[allow(unused_mut)]
            let mut degraded = ::std::vec::Vec::new();
            ::std::result::Result::<_, $crate::Error>::Ok(Fanout {
                $($core: $core.value()?,)*
                $($($optional: $optional.value_or(&mut degraded, || $default),)*)?
                degraded,
            })
        }
    };
}

/// An optional part of a [`fanout!`](crate::fanout!) that has its default value.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Degraded {
    /// The part.
    pub part: &'static str,
    /// Why it did not answer.
    pub error: Error,
}

/// Runs a future whose calls, and the streams opened in it, all end so long from now, whatever deadlines they have; a
/// shorter one around it counts. It does not end the future itself.
pub async fn within<F: IntoFuture>(time: Duration, future: F) -> F::Output {
    ENDS.scope(ends(time), future.into_future()).await
}

/// When the calls of the current task end at the latest, by the [`within`] around them.
pub(crate) fn scoped() -> Option<Instant> {
    ENDS.try_with(|ends| *ends).ok()
}

fn ends(time: Duration) -> Instant {
    let now = ladder::now();
    // A time without end is that of each call.
    let ends = now.checked_add(time).unwrap_or(now + Duration::from_secs(1 << 30));
    scoped().map_or(ends, |outer| outer.min(ends))
}

/// A part of a fan-out. For the macro.
#[doc(hidden)]
pub struct Part<'a, T> {
    name: &'static str,
    core: bool,
    state: State<'a, T>,
}

enum State<'a, T> {
    Running(BoxFuture<'a, Result<Reply<T>, Error>>),
    Ended(Result<T, Error>),
}

impl<T> std::fmt::Debug for Part<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Part").field("name", &self.name).field("core", &self.core).finish_non_exhaustive()
    }
}

impl<'a, T> Part<'a, T> {
    pub fn core<F>(name: &'static str, call: F) -> Self
    where
        F: IntoFuture<Output = Result<Reply<T>, Error>, IntoFuture: Send + 'a>,
    {
        Self { name, core: true, state: State::Running(Box::pin(call.into_future())) }
    }

    pub fn optional<F>(name: &'static str, call: F) -> Self
    where
        F: IntoFuture<Output = Result<Reply<T>, Error>, IntoFuture: Send + 'a>,
    {
        Self { core: false, ..Self::core(name, call) }
    }

    /// The response message.
    pub fn value(self) -> Result<T, Error> {
        match self.state {
            State::Ended(result) => result,
            State::Running(_) => Err(Error::deadline_exceeded()),
        }
    }

    /// The response message; the default, and an entry, if there is none.
    pub fn value_or(self, degraded: &mut Vec<Degraded>, default: impl FnOnce() -> T) -> T {
        let part = self.name;
        self.value().unwrap_or_else(|error| {
            degraded.push(Degraded { part, error });
            default()
        })
    }
}

/// A part of any type. For the macro.
#[doc(hidden)]
pub trait AnyPart: Send {
    /// Ready when it has ended; an error ends the whole.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>>;
    /// The deadline has come.
    fn expire(&mut self) -> Result<(), Error>;
}

impl<T: Send> AnyPart for Part<'_, T> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let State::Running(call) = &mut self.state else { return Poll::Ready(Ok(())) };
        let Poll::Ready(answer) = call.as_mut().poll(cx) else { return Poll::Pending };
        let answer = answer.map(Reply::into_inner);
        if self.core
            && let Err(error) = answer
        {
            return Poll::Ready(Err(error.in_part(self.name)));
        }
        self.state = State::Ended(answer);
        Poll::Ready(Ok(()))
    }

    fn expire(&mut self) -> Result<(), Error> {
        match self.state {
            State::Running(_) if self.core => Err(Error::deadline_exceeded().in_part(self.name)),
            State::Running(_) => {
                // Cancels what runs.
                self.state = State::Ended(Err(Error::deadline_exceeded()));
                Ok(())
            }
            State::Ended(_) => Ok(()),
        }
    }
}

/// Runs parts until all have ended, a core one has failed, or the deadline has come. For the macro.
#[doc(hidden)]
pub async fn fan_out(time: Option<Duration>, parts: &mut [&mut dyn AnyPart]) -> Result<(), Error> {
    let all = poll_fn(|cx| {
        let mut ended = true;
        for part in parts.iter_mut() {
            match part.poll(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => ended = false,
            }
        }
        if ended { Poll::Ready(Ok(())) } else { Poll::Pending }
    });
    let Some(time) = time else { return all.await };
    let ends = ends(time);
    match tokio::time::timeout_at(ends.into(), ENDS.scope(ends, all)).await {
        Ok(result) => result,
        Err(_) => parts.iter_mut().try_for_each(|part| part.expire()),
    }
}

#[cfg(test)]
mod tests;
