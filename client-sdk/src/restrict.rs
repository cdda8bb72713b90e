//! What the control API takes away from methods, while it runs. Restrictions only tighten.

use hashbrown::HashMap;
use mesh_proto::control_v1;
use std::{
    sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// What one method may not do at present.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Restriction {
    /// Calls are not batched.
    pub no_batch: bool,
    /// Calls are not coalesced.
    pub no_coalescing: bool,
    /// Calls are not sent again after they may have been processed.
    pub no_retry: bool,
    /// Calls go through a router.
    pub no_direct: bool,
    /// Longest deadline, if it is shorter than the policy's.
    pub max_deadline: Option<Duration>,
}

/// The restrictions in force, by method.
#[derive(Clone, Debug, Default)]
pub(crate) struct Restrictions {
    every: Restriction,
    methods: HashMap<String, Restriction>,
}

/// The restriction of one method where each of its calls reads it.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    flags: AtomicU8,
    max_deadline_ms: AtomicU64,
}

impl Restriction {
    fn and(self, other: Self) -> Self {
        let both = self.max_deadline.zip(other.max_deadline).map(|(one, two)| one.min(two));
        Self {
            no_batch: self.no_batch || other.no_batch,
            no_coalescing: self.no_coalescing || other.no_coalescing,
            no_retry: self.no_retry || other.no_retry,
            no_direct: self.no_direct || other.no_direct,
            max_deadline: both.or(self.max_deadline).or(other.max_deadline),
        }
    }
}

impl Restrictions {
    /// What a method may not do.
    pub fn of(&self, path: &str) -> Restriction {
        self.methods.get(path).map_or(self.every, |own| own.and(self.every))
    }
}

impl From<&control_v1::Restrictions> for Restrictions {
    fn from(sent: &control_v1::Restrictions) -> Self {
        let mut restrictions = Self::default();
        for method in &sent.methods {
            let ms = u64::from(method.max_deadline_ms);
            let restriction = Restriction {
                no_batch: method.no_batch,
                no_coalescing: method.no_coalescing,
                no_retry: method.no_retry,
                no_direct: method.no_direct,
                max_deadline: (ms > 0).then(|| Duration::from_millis(ms)),
            };
            let place = match &*method.method {
                "*" => &mut restrictions.every,
                path => restrictions.methods.entry(path.to_owned()).or_default(),
            };
            *place = place.and(restriction);
        }
        restrictions
    }
}

impl Limits {
    /// Takes over what is in force now.
    pub fn set(&self, restriction: Restriction) {
        let Restriction { no_batch, no_coalescing, no_retry, no_direct, max_deadline } = restriction;
        let bits = [no_batch, no_coalescing, no_retry, no_direct].into_iter().enumerate();
        self.flags.store(bits.map(|(bit, set)| u8::from(set) << bit).sum(), Relaxed);
        let ms = max_deadline.map_or(0, |max| u64::try_from(max.as_millis()).unwrap_or(u64::MAX));
        self.max_deadline_ms.store(ms, Relaxed);
    }

    /// What is in force now.
    pub fn get(&self) -> Restriction {
        let flags = self.flags.load(Relaxed);
        let ms = self.max_deadline_ms.load(Relaxed);
        Restriction {
            no_batch: flags & 1 != 0,
            no_coalescing: flags & 2 != 0,
            no_retry: flags & 4 != 0,
            no_direct: flags & 8 != 0,
            max_deadline: (ms > 0).then(|| Duration::from_millis(ms)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use control_v1::MethodRestriction;

    #[test]
    fn restrictions_of_every_method_and_of_one_only_tighten_each_other() {
        let every =
            MethodRestriction { method: "*".into(), no_batch: true, max_deadline_ms: 500, ..Default::default() };
        let one =
            MethodRestriction { method: "/a.B/C".into(), no_retry: true, max_deadline_ms: 900, ..Default::default() };
        let sent = control_v1::Restrictions { methods: vec![every, one], ..Default::default() };
        let restrictions = Restrictions::from(&sent);
        let max_deadline = Some(Duration::from_millis(500));
        let expected = Restriction { no_batch: true, no_retry: true, max_deadline, ..Restriction::default() };
        assert_eq!(restrictions.of("/a.B/C"), expected);
        assert_eq!(restrictions.of("/a.B/D"), Restriction { no_retry: false, ..expected });
    }

    #[test]
    fn a_call_reads_what_was_set() {
        let limits = Limits::default();
        assert_eq!(limits.get(), Restriction::default());
        for bit in 0..4 {
            let max_deadline = (bit % 2 == 0).then(|| Duration::from_millis(7));
            let [no_batch, no_coalescing, no_retry, no_direct] = [0, 1, 2, 3].map(|other| other == bit);
            let restriction = Restriction { no_batch, no_coalescing, no_retry, no_direct, max_deadline };
            limits.set(restriction);
            assert_eq!(limits.get(), restriction);
        }
    }
}
