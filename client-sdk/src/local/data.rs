//! What a logic looks at.

use crate::{
    Method, Scope,
    feed::{Feeds, GlobalData, GlobalFeed, Moment, Seen, Standing, UserFeed, Users},
};
use std::{marker::PhantomData, sync::Arc};

/// Data that is the same for everybody, from this feed.
pub struct Global<F>(PhantomData<fn() -> F>);

/// Data of the user whom the request is about, from this feed.
pub struct PerUser<F>(PhantomData<fn() -> F>);

/// What a logic may look at: [`Global`], [`PerUser`], a tuple of two or three of them, or nothing (`()`) if the request and
/// the time tell enough.
pub trait Data: Source {
    /// How the logic sees it: a reference to the snapshot, or a tuple of references.
    type View<'a>;

    /// It as the logic sees it.
    #[doc(hidden)]
    fn view(seen: &Self::Seen) -> Self::View<'_>;
}

/// What the crate needs of [`Data`], and why nobody else implements it.
pub trait Source: Send + Sync + 'static {
    /// Whether the request's user key is needed.
    const KEYED: bool;
    /// The data itself.
    type Held: Send + Sync;
    /// One state of it.
    type Seen;

    /// Whether the feeds' methods are such as they can be followed.
    ///
    /// # Errors
    /// What is wrong.
    fn check() -> Result<(), String>;
    /// Begins to follow what is not followed yet.
    fn open(feeds: &mut Feeds) -> Self::Held;
    /// Its present state; nothing if some of it is not there.
    fn see(held: &Self::Held, ask: &Ask<'_>) -> Option<Self::Seen>;
    /// How that stands.
    fn standing(seen: &Self::Seen) -> Standing;
}

/// Whose data is looked at, and when.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) now: Moment,
}

impl<F: GlobalFeed> Source for Global<F> {
    const KEYED: bool = false;
    type Held = Arc<GlobalData<F>>;
    type Seen = Seen<F::Snapshot>;

    fn check() -> Result<(), String> {
        let policy = <F::Stream as Method>::POLICY;
        match policy.scope {
            Scope::User => Err(format!("{} has the scope of a user, a global feed's must not", policy.path)),
            _ => Ok(()),
        }
    }

    fn open(feeds: &mut Feeds) -> Self::Held {
        feeds.global::<F>()
    }

    fn see(held: &Self::Held, _: &Ask<'_>) -> Option<Self::Seen> {
        held.place().see()
    }

    fn standing(seen: &Self::Seen) -> Standing {
        Standing { user: None, ..seen.standing() }
    }
}

impl<F: GlobalFeed> Data for Global<F> {
    type View<'a> = &'a F::Snapshot;

    fn view(seen: &Self::Seen) -> Self::View<'_> {
        &seen.data
    }
}

impl<F: UserFeed> Source for PerUser<F> {
    const KEYED: bool = true;
    type Held = Arc<Users<F>>;
    type Seen = Seen<F::Snapshot>;

    fn check() -> Result<(), String> {
        let policy = <F::Stream as Method>::POLICY;
        match policy.scope {
            Scope::User => Ok(()),
            scope => Err(format!("{} has scope {scope:?}, a feed of users needs that of a user", policy.path)),
        }
    }

    fn open(feeds: &mut Feeds) -> Self::Held {
        feeds.users::<F>()
    }

    fn see(held: &Self::Held, ask: &Ask<'_>) -> Option<Self::Seen> {
        held.see(ask.key, ask.now)
    }

    fn standing(seen: &Self::Seen) -> Standing {
        seen.standing()
    }
}

impl<F: UserFeed> Data for PerUser<F> {
    type View<'a> = &'a F::Snapshot;

    fn view(seen: &Self::Seen) -> Self::View<'_> {
        &seen.data
    }
}

impl Source for () {
    const KEYED: bool = false;
    type Held = ();
    type Seen = ();

    fn check() -> Result<(), String> {
        Ok(())
    }

    fn open(_: &mut Feeds) {}

    fn see((): &(), _: &Ask<'_>) -> Option<()> {
        Some(())
    }

    fn standing((): &()) -> Standing {
        Standing::BEST
    }
}

impl Data for () {
    type View<'a> = ();

    fn view((): &()) {}
}

macro_rules! together {
    ($($part:ident $at:tt),+) => {
        impl<$($part: Data),+> Source for ($($part,)+) {
            const KEYED: bool = $($part::KEYED)||+;
            type Held = ($($part::Held,)+);
            type Seen = ($($part::Seen,)+);

            fn check() -> Result<(), String> {
                $($part::check()?;)+
                Ok(())
            }

            fn open(feeds: &mut Feeds) -> Self::Held {
                ($($part::open(feeds),)+)
            }

            fn see(held: &Self::Held, ask: &Ask<'_>) -> Option<Self::Seen> {
                // All are asked for, so that none waits for another to be there.
                let seen = ($($part::see(&held.$at, ask),)+);
                Some(($(seen.$at?,)+))
            }

            fn standing(seen: &Self::Seen) -> Standing {
                Standing::BEST$(.with($part::standing(&seen.$at)))+
            }
        }

        impl<$($part: Data),+> Data for ($($part,)+) {
            type View<'a> = ($($part::View<'a>,)+);

            fn view(seen: &Self::Seen) -> Self::View<'_> {
                ($($part::view(&seen.$at),)+)
            }
        }
    };
}

together!(A 0, B 1);
together!(A 0, B 1, C 2);
