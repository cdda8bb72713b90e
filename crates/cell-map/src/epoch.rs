//! Epochs. Each orders one thing only, so each is a type of its own.

use std::fmt;

macro_rules! epoch {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u64);

        impl $name {
            /// Before the first.
            pub const ZERO: Self = Self(0);

            /// The epoch with this number.
            #[must_use]
            pub const fn new(number: u64) -> Self {
                Self(number)
            }

            /// Its number.
            #[must_use]
            pub const fn get(self) -> u64 {
                self.0
            }

            /// The one after it.
            ///
            /// # Panics
            /// Past 2^64 − 1, which no history reaches.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0.checked_add(1).expect("epochs do not run out"))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

epoch!(
    /// Orders versions of the cell map within an incarnation, and nothing else.
    MapEpoch
);
epoch!(
    /// A history of map epochs; raised only by an operator who adopts a new one.
    Incarnation
);
epoch!(
    /// Orders the owners of one user. A user without a row of his own has 0.
    UserEpoch
);
epoch!(
    /// Orders the homes of one bucket in the databases.
    BucketEpoch
);

/// What a claim about a user's owner is ordered by: first the user's epoch, then the bucket's (`ownership.md`, Epochs).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OwnerEpochs {
    /// The user's epoch.
    pub user: UserEpoch,
    /// The bucket's epoch.
    pub bucket: BucketEpoch,
}

impl OwnerEpochs {
    /// Lower than or equal to every claim.
    pub const ZERO: Self = Self { user: UserEpoch::ZERO, bucket: BucketEpoch::ZERO };

    /// The pair of both epochs.
    #[must_use]
    pub const fn new(user: UserEpoch, bucket: BucketEpoch) -> Self {
        Self { user, bucket }
    }
}
