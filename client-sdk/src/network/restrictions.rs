//! What the mesh allows its clients less than their policies say.

use hashbrown::HashMap;
use mesh_proto::control_v1;
use std::time::Duration;

/// What the mesh allows its clients less than their policies say. Only ever tightens.
#[derive(Clone, Debug, Default)]
pub(crate) struct Restrictions {
    every: MethodRestriction,
    methods: HashMap<String, MethodRestriction>,
    logics: HashMap<String, LogicRestriction>,
}

/// Of the calls of a method.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct MethodRestriction {
    /// Calls are not batched.
    pub no_batch: bool,
    /// Calls are not coalesced.
    pub no_coalescing: bool,
    /// Calls are not sent again after they may have been processed.
    pub no_retry: bool,
    /// Calls go through a router.
    pub no_direct: bool,
    /// Longest deadline.
    pub max_deadline: Option<Duration>,
}

/// Of a local logic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LogicRestriction {
    /// Lower minor versions ask the server.
    pub min_minor: u32,
    /// Every client asks the server.
    pub disabled: bool,
}

impl Restrictions {
    pub fn new(message: &control_v1::Restrictions) -> Self {
        let (mut every, mut methods) = (MethodRestriction::default(), HashMap::new());
        for method in &message.methods {
            let of = MethodRestriction {
                no_batch: method.no_batch,
                no_coalescing: method.no_coalescing,
                no_retry: method.no_retry,
                no_direct: method.no_direct,
                max_deadline: (method.max_deadline_ms > 0)
                    .then(|| Duration::from_millis(method.max_deadline_ms.into())),
            };
            match method.method.as_str() {
                "*" => every = of,
                path => {
                    methods.insert(path.to_owned(), of);
                }
            }
        }
        let logic = |logic: &control_v1::LogicRestriction| {
            (logic.name.clone(), LogicRestriction { min_minor: logic.min_minor, disabled: logic.disabled })
        };
        Self { every, methods, logics: message.logics.iter().map(logic).collect() }
    }

    /// Of a method, by its path.
    pub fn method(&self, path: &str) -> MethodRestriction {
        if self.methods.is_empty() {
            return self.every;
        }
        self.methods.get(path).map_or(self.every, |method| method.and(self.every))
    }

    /// Of a logic, by its name.
    pub fn logic(&self, name: &str) -> LogicRestriction {
        self.logics.get(name).copied().unwrap_or_default()
    }
}

impl MethodRestriction {
    fn and(self, other: Self) -> Self {
        Self {
            no_batch: self.no_batch || other.no_batch,
            no_coalescing: self.no_coalescing || other.no_coalescing,
            no_retry: self.no_retry || other.no_retry,
            no_direct: self.no_direct || other.no_direct,
            max_deadline: self.max_deadline.into_iter().chain(other.max_deadline).min(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_for_every_method_only_tightens_what_holds_for_one() {
        let method = |method: &str, no_retry, max_deadline_ms| control_v1::MethodRestriction {
            method: method.to_owned(),
            no_retry,
            max_deadline_ms,
            ..control_v1::MethodRestriction::default()
        };
        let methods = vec![method("/a.B/C", false, 50), method("*", true, 200)];
        let restrictions = Restrictions::new(&control_v1::Restrictions { methods, logics: Vec::new() });
        let of = restrictions.method("/a.B/C");
        assert_eq!((of.no_retry, of.max_deadline), (true, Some(Duration::from_millis(50))));
        assert_eq!(restrictions.method("/a.B/D").max_deadline, Some(Duration::from_millis(200)));
        assert_eq!(Restrictions::default().method("/a.B/C"), MethodRestriction::default());
    }
}
