//! Who is home by the rows, whether or not he is served at the moment.

use super::{BucketRow, BucketState, KeyRows, UserState};
use crate::UserEpoch;

impl BucketRow {
    /// Whether this database is the bucket's home: it is until the flip to `gone` (OWN-14).
    #[must_use]
    pub const fn is_home(&self) -> bool {
        !matches!(self.state, BucketState::Gone { .. })
    }
}

impl KeyRows {
    /// The epoch since which the key is at home in this database, if it is: by its own row (`home` or `frozen`), or
    /// without one, by its bucket. At any time at most one database says so of a key.
    #[must_use]
    pub fn home_epoch(&self) -> Option<UserEpoch> {
        match (&self.user, &self.away) {
            (Some(user), Some(away)) if away.epoch > user.epoch => None,
            (Some(user), _) => matches!(user.state, UserState::Home | UserState::Frozen).then_some(user.epoch),
            (None, Some(_)) => None,
            (None, None) => self.bucket.is_home().then_some(UserEpoch::ZERO),
        }
    }
}
