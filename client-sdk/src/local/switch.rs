//! Whether a logic may answer: it can be restricted by the mesh, and switched off by its own mistakes.

use super::counts::LocalState;
use mesh_proto::control_v1::LogicRestriction;
use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, Ordering::Relaxed},
};

/// Answers compared after which mistakes are forgotten: about a millionth may be wrong.
const WINDOW: u32 = 1_000_000;
/// Mistakes within a window that switch a logic off. One may be a defect of the comparison itself.
const MISTAKES: u32 = 2;

/// What comparisons said: pure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ledger {
    compared: u32,
    mistakes: u32,
}

impl Ledger {
    /// Enters a comparison. True if the logic must not answer any more.
    pub fn enter(&mut self, agreed: bool) -> bool {
        if self.compared >= WINDOW {
            *self = Self::default();
        }
        self.compared += 1;
        self.mistakes += u32::from(!agreed);
        self.mistakes >= MISTAKES
    }
}

/// The switch of one logic.
#[derive(Debug, Default)]
pub(super) struct Switch {
    restricted: AtomicBool,
    off: AtomicBool,
    ledger: Mutex<Ledger>,
}

impl Switch {
    /// Whether the logic may answer.
    #[inline]
    pub fn is_on(&self) -> bool {
        !self.restricted.load(Relaxed) && !self.off.load(Relaxed)
    }

    pub fn state(&self) -> LocalState {
        match (self.off.load(Relaxed), self.restricted.load(Relaxed)) {
            (true, _) => LocalState::SwitchedOff,
            (false, true) => LocalState::Restricted,
            (false, false) => LocalState::On,
        }
    }

    /// What the mesh's restrictions in force, all of them, mean for this logic. True if it changed.
    pub fn restrict(&self, name: &str, minor: u32, restrictions: &[LogicRestriction]) -> bool {
        let restricts = |it: &LogicRestriction| it.name == name && (it.disabled || minor < it.min_minor);
        let restricted = restrictions.iter().any(restricts);
        self.restricted.swap(restricted, Relaxed) != restricted
    }

    /// Enters a comparison. True if it switched the logic off.
    pub fn compared(&self, agreed: bool) -> bool {
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        ledger.enter(agreed) && !self.off.swap(true, Relaxed)
    }

    /// Switches it off, until it is [enabled](Self::enable).
    pub fn turn_off(&self) {
        self.off.store(true, Relaxed);
    }

    /// Switches it on again.
    pub fn enable(&self) {
        *self.ledger.lock().unwrap_or_else(PoisonError::into_inner) = Ledger::default();
        self.off.store(false, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_mistakes_in_a_million_answers_are_too_many() {
        let mut ledger = Ledger::default();
        assert!(!ledger.enter(false));
        assert!((1..WINDOW).all(|_| !ledger.enter(true)));
        assert!(!ledger.enter(false), "the first was forgotten");
        assert!(!ledger.enter(true));
        assert!(ledger.enter(false));
    }

    #[test]
    fn restrictions_name_a_logic_and_the_least_minor_version() {
        let switch = Switch::default();
        let of = |name: &str, min_minor, disabled| LogicRestriction { name: name.to_owned(), min_minor, disabled };
        for (restriction, on) in [
            (of("follow-check", 0, true), false),
            (of("follow-check", 4, false), false),
            (of("follow-check", 3, false), true),
            (of("quote", 9, true), true),
        ] {
            switch.restrict("follow-check", 3, &[of("another", 1, true), restriction.clone()]);
            assert_eq!(switch.is_on(), on, "{restriction:?}");
        }
        switch.restrict("follow-check", 3, &[]);
        assert!(switch.is_on());
        assert!(!switch.compared(false) && switch.compared(false) && !switch.is_on());
        assert!(!switch.compared(false), "it is off already");
        switch.restrict("follow-check", 3, &[]);
        assert!(!switch.is_on(), "the mesh does not switch on what its own mistakes switched off");
        switch.enable();
        assert!(switch.is_on() && !switch.compared(false));
    }
}
