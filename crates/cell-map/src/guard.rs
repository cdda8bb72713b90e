//! The publisher's guard: no version re-homes too many users by mistake.

use crate::{BUCKET_COUNT, CellMap, MapDiff, UserEpoch, UserKey, diff};

/// Pins that one version may re-home whatever their share: with few pins in all, every one is a large share.
const FREE_PINS: usize = 1000;

/// How much one version may re-home without being forced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guard {
    /// Most buckets with another home, in permille of all buckets; and most pinned users with another home, in
    /// permille of all pins (1,000 pins are always allowed).
    pub max_moved_permille: u32,
}

impl Default for Guard {
    /// 10 permille: a wrong map is stopped before it reaches 1 % of the users.
    fn default() -> Self {
        Self { max_moved_permille: 10 }
    }
}

/// How many homes a version changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Buckets with another home.
    pub buckets: usize,
    /// Pinned users with another home.
    pub pins: usize,
}

/// Why the guard stops a version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GuardError {
    /// Too many homes change, and the map does not say why it was forced.
    #[error(
        "the map re-homes {buckets} of {BUCKET_COUNT} buckets and {pins} of {all_pins} pins, more than \
         {max_moved_permille} permille; force it with a reason if that is meant"
    )]
    TooManyMoved {
        /// Buckets with another home.
        buckets: usize,
        /// Pinned users with another home.
        pins: usize,
        /// Pins in the map that has more of them.
        all_pins: usize,
        /// What is allowed.
        max_moved_permille: u32,
    },
    /// A map forgets what it knew of a user: an old claim about him could win. No reason allows it.
    #[error("user key \"{key}\" goes back from epoch {known} to epoch {offered}")]
    EpochLost {
        /// The user.
        key: UserKey,
        /// What the old map knows.
        known: UserEpoch,
        /// What the new map says; 0 if nothing.
        offered: UserEpoch,
    },
}

/// Whether a publisher may replace `old` by `new`: within `guard`, or forced with a reason that `new` records
/// ([`crate::MapDraft::force`]). Within one incarnation no user's epoch may fall, forced or not.
///
/// # Errors
/// Why not.
pub fn check_guard(old: &CellMap, new: &CellMap, guard: Guard) -> Result<Moved, GuardError> {
    let MapDiff { buckets_moved, pins_changed, .. } = diff(old, new);
    if old.incarnation() == new.incarnation()
        && let Some(lost) = pins_changed.iter().find(|change| change.new_epoch < change.old_epoch)
    {
        let (known, offered) = (lost.old_epoch, lost.new_epoch);
        return Err(GuardError::EpochLost { key: lost.key.clone(), known, offered });
    }
    let moved =
        Moved { buckets: buckets_moved.len(), pins: pins_changed.iter().filter(|change| change.rehomes()).count() };
    let all_pins = old.pins().len().max(new.pins().len());
    let allowed = |all: usize| (all as u64 * u64::from(guard.max_moved_permille) / 1000) as usize;
    let too_many = moved.buckets > allowed(BUCKET_COUNT) || moved.pins > allowed(all_pins).max(FREE_PINS);
    if too_many && new.forced_reason().is_none() {
        let max_moved_permille = guard.max_moved_permille;
        return Err(GuardError::TooManyMoved {
            buckets: moved.buckets,
            pins: moved.pins,
            all_pins,
            max_moved_permille,
        });
    }
    Ok(moved)
}
