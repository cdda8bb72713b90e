//! Admission: which map a consumer takes over from the one it has.

use crate::{CellMap, Incarnation, MapEpoch};

/// What a consumer does with a map offered to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Takes it: the same history, a higher epoch.
    Newer,
    /// Nothing: it has this very map.
    Same,
    /// Keeps what it has.
    Refused(AdmitError),
}

/// Why a map is refused. The consumer goes on with the one it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdmitError {
    /// A stale read, or a store put back to an earlier state.
    #[error("map epoch {offered} is older than epoch {current}")]
    OlderEpoch {
        /// What the consumer has.
        current: MapEpoch,
        /// What was offered.
        offered: MapEpoch,
    },
    /// Two publishers believed to be the only one.
    #[error("another map has epoch {epoch} too")]
    SameEpochOtherContent {
        /// The epoch of both.
        epoch: MapEpoch,
    },
    /// Another history: an operator has to adopt it.
    #[error("the map is of incarnation {offered}, not {current}; adopt it if that is meant")]
    OtherIncarnation {
        /// What the consumer has.
        current: Incarnation,
        /// What was offered.
        offered: Incarnation,
    },
}

impl AdmitError {
    /// Whether someone must look at it: a stale read heals itself, two truths do not.
    #[must_use]
    pub const fn is_alarm(self) -> bool {
        !matches!(self, Self::OlderEpoch { .. })
    }
}

/// Whether a consumer that has `current` takes `offered`. Looks at incarnation, epoch and content hash only: structure
/// was checked when the map was built, and how many users a version may re-home is the publisher's to guard.
#[must_use]
pub fn admit(current: &CellMap, offered: &CellMap) -> Admission {
    if current.incarnation() != offered.incarnation() {
        let (current, offered) = (current.incarnation(), offered.incarnation());
        return Admission::Refused(AdmitError::OtherIncarnation { current, offered });
    }
    let (have, get) = (current.epoch(), offered.epoch());
    if get < have {
        Admission::Refused(AdmitError::OlderEpoch { current: have, offered: get })
    } else if get > have {
        Admission::Newer
    } else if current.content_hash() == offered.content_hash() {
        Admission::Same
    } else {
        Admission::Refused(AdmitError::SameEpochOtherContent { epoch: have })
    }
}
