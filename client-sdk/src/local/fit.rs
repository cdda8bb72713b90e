//! Whether data is fresh enough for a call: pure.

use crate::{
    Fresh, Token,
    feed::{Moment, Standing},
};
use std::time::Duration;

/// What a call demands of the data that answers it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Demand<'a> {
    /// How old it may be.
    max_age: Duration,
    /// What it must show.
    token: Option<&'a Token>,
}

impl<'a> Demand<'a> {
    /// Of a call that the mesh was not asked yet; `None`: the server must be asked.
    #[inline]
    pub fn of(fresh: &'a Fresh, lease: Duration) -> Option<Self> {
        match fresh {
            Fresh::Any | Fresh::StaleIfError(_) => Some(Self { max_age: lease, token: None }),
            Fresh::MaxAge(age) => Some(Self { max_age: lease.min(*age), token: None }),
            Fresh::AtLeast(token) => Some(Self { max_age: lease, token: Some(token) }),
            Fresh::Authoritative => None,
        }
    }

    /// Of a call that the mesh did not answer; `None`: then it fails.
    pub fn after_error(fresh: &'a Fresh) -> Option<Self> {
        match fresh {
            Fresh::StaleIfError(max_age) => Some(Self { max_age: *max_age, token: None }),
            _ => None,
        }
    }

    /// The data's age, if it will do. Data that was never complete does not, however old it may be; and data of nobody
    /// in particular shows no token.
    #[inline]
    pub fn met_by(&self, standing: &Standing, now: Moment) -> Option<Duration> {
        let age = now.since(standing.confirmed);
        let shown = self
            .token
            .is_none_or(|token| standing.user.is_some_and(|user| token.is_met_by(user.incarnation, user.sequence)));
        (shown && age <= self.max_age && standing.confirmed != Moment::NEVER).then_some(age)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Position;
    use proptest::prelude::*;

    fn freshness() -> impl Strategy<Value = Fresh> {
        prop_oneof![
            Just(Fresh::Any),
            Just(Fresh::Authoritative),
            (0u64..200).prop_map(|ms| Fresh::MaxAge(Duration::from_millis(ms))),
            (0u64..200).prop_map(|ms| Fresh::StaleIfError(Duration::from_millis(ms))),
            (0u64..4, 0u64..4).prop_map(|(epoch, position)| {
                Fresh::AtLeast(Token::new("bj-1".parse().expect("a name"), epoch, position))
            }),
        ]
    }

    proptest! {
        /// Before the mesh is asked nothing past its lease answers, and after it failed nothing past what was allowed; what
        /// is asked for is shown.
        #[test]
        fn an_answer_is_what_was_asked_for(
            fresh in freshness(),
            lease in 0u64..200,
            age in 0u64..300,
            user in prop::option::of((0u64..4, 0u64..4)),
            never in any::<bool>(),
        ) {
            let (lease, age, now) = (Duration::from_millis(lease), Duration::from_millis(age), Moment(1 << 40));
            let confirmed = if never { Moment::NEVER } else { now.earlier(age) };
            let user = user.map(|(incarnation, sequence)| Position { incarnation, sequence });
            let standing = Standing { confirmed, user, version: 1 };
            let (longest, stale, shown) = match &fresh {
                Fresh::Any => (Some(lease), None, true),
                Fresh::Authoritative => (None, None, true),
                Fresh::MaxAge(max) => (Some(lease.min(*max)), None, true),
                Fresh::StaleIfError(max) => (Some(lease), Some(*max), true),
                Fresh::AtLeast(token) => {
                    let shown = user.is_some_and(|user| token.is_met_by(user.incarnation, user.sequence));
                    (Some(lease), None, shown)
                }
            };
            let expected = |longest: Option<Duration>| longest.filter(|max| shown && !never && age <= *max).map(|_| age);
            prop_assert_eq!(Demand::of(&fresh, lease).and_then(|demand| demand.met_by(&standing, now)), expected(longest));
            prop_assert_eq!(Demand::after_error(&fresh).and_then(|demand| demand.met_by(&standing, now)), expected(stale));
        }
    }
}
