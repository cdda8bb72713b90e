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
    pub fn met_by(&self, standing: &Standing, now: Moment) -> Option<Duration> {
        let age = now.since(standing.confirmed);
        let shown = self
            .token
            .is_none_or(|token| standing.user.is_some_and(|user| token.is_met_by(user.incarnation, user.sequence)));
        (shown && age <= self.max_age && standing.confirmed != Moment::NEVER).then_some(age)
    }
}
