//! All feeds of a mesh: each is followed once, however many logics look at it.

use super::{
    GlobalData, GlobalFeed, UserFeed, Users,
    follow::Line,
    stream_counts::{StreamCounts, SwitchOff},
};
use hashbrown::HashMap;
use std::{
    any::{Any, TypeId},
    sync::Arc,
    time::Duration,
};

/// What is known of one feed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FeedStats {
    /// Path of its stream's method.
    pub method: &'static str,
    /// How many snapshots are there: at most one of global data, one for each user.
    pub snapshots: usize,
    /// About how many bytes they take.
    pub bytes: usize,
    /// Streams opened, the first ones and those after them.
    pub streams_opened: u64,
    /// Streams that were not opened, or ended other than planned.
    pub streams_failed: u64,
    /// How often the feed's own code panicked: the logics that use it are switched off then.
    pub panics: u64,
    /// How long the first data took: since the start for global data, since the first call about him for a user's (the
    /// last one that came).
    pub first_data: Option<Duration>,
    /// Users whose streams were closed because nobody asked about them.
    pub closed_idle: u64,
    /// Users whose streams were closed to make room for others.
    pub evicted: u64,
    /// Calls about users for whom there was no room.
    pub refused: u64,
}

/// Tells about one feed.
pub(crate) trait FeedReport: Send + Sync {
    fn report(&self) -> FeedStats;
    fn counts(&self) -> &StreamCounts;
}

/// All feeds of a mesh.
pub struct Feeds {
    pub(crate) line: Line,
    by_type: HashMap<TypeId, Arc<dyn Any + Send + Sync>>,
    reports: Vec<Arc<dyn FeedReport>>,
    /// Makes what switches the logic off that is opening its feeds.
    switch_off: Option<Box<dyn Fn() -> SwitchOff + Send + Sync>>,
}

impl std::fmt::Debug for Feeds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Feeds").field("feeds", &self.reports.len()).finish_non_exhaustive()
    }
}

impl Feeds {
    pub(crate) fn new(line: Line) -> Self {
        Self { line, by_type: HashMap::new(), reports: Vec::new(), switch_off: None }
    }

    /// The feeds that are asked for from now on are for this logic: a panic of their own code switches it off.
    pub(crate) fn are_for(&mut self, switch_off: impl Fn() + Clone + Send + Sync + 'static) {
        self.switch_off = Some(Box::new(move || Box::new(switch_off.clone())));
    }

    /// The data of a global feed, followed from now on.
    pub(crate) fn global<F: GlobalFeed>(&mut self) -> Arc<GlobalData<F>> {
        self.get(GlobalData::<F>::follow)
    }

    /// The data of a feed of users.
    pub(crate) fn users<F: UserFeed>(&mut self) -> Arc<Users<F>> {
        self.get(Users::<F>::new)
    }

    /// What is known of each.
    pub(crate) fn stats(&self) -> Vec<FeedStats> {
        self.reports.iter().map(|feed| feed.report()).collect()
    }

    fn get<T: FeedReport + 'static>(&mut self, make: impl FnOnce(Line, Arc<StreamCounts>) -> T) -> Arc<T> {
        let there = self.by_type.get(&TypeId::of::<T>()).cloned();
        let data = there.and_then(|there| there.downcast().ok()).unwrap_or_else(|| {
            let made = Arc::new(make(self.line.clone(), Arc::default()));
            self.by_type.insert(TypeId::of::<T>(), Arc::clone(&made) as Arc<dyn Any + Send + Sync>);
            self.reports.push(Arc::clone(&made) as Arc<dyn FeedReport>);
            made
        });
        if let Some(switch_off) = &self.switch_off {
            T::counts(&data).concerns(switch_off());
        }
        data
    }
}
