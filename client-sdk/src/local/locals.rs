//! The local logics of a mesh.

use super::{
    Evaluator, LocalLogic, LocalStats,
    answer::{Answerer, LogicReport},
    data::Source,
    switch::Switch,
};
use crate::{
    Code, Error, LocalSettings, Method,
    feed::{Clock, Feeds, Line},
    wire::Wire,
};
use hashbrown::HashMap;
use mesh_proto::control_v1::LogicRestriction;
use std::{
    any::{Any, TypeId},
    fmt,
    sync::Arc,
};

/// The logics that a mesh is to have.
#[derive(Clone, Default)]
pub(crate) struct Logics {
    pub settings: LocalSettings,
    registered: Vec<Registered>,
}

#[derive(Clone)]
struct Registered {
    name: &'static str,
    minor: u32,
    method: TypeId,
    start: Start,
}

type Start = Arc<dyn Fn(Arc<Switch>, &mut Feeds) -> Running + Send + Sync>;

/// A logic at work, as what its method's slot wants and as what is told about.
struct Running {
    /// An `Arc<dyn Evaluator<M>>`.
    evaluator: Box<dyn Any + Send + Sync>,
    report: Arc<dyn LogicReport>,
}

impl fmt::Debug for Logics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.registered.iter().map(|logic| logic.name)).finish()
    }
}

impl Logics {
    /// Registers a logic.
    ///
    /// # Errors
    /// INVALID_ARGUMENT if it is not the logic that its method's policy names, if its method is none that logic may
    /// answer, if its feeds are such as it cannot use, or if there is one for the method already.
    pub fn register<L: LocalLogic>(&mut self, logic: L) -> Result<(), Error> {
        let method = TypeId::of::<L::Method>();
        check::<L>()
            .and_then(|()| match self.registered.iter().find(|other| other.method == method) {
                None => Ok(()),
                Some(other) => Err(format!("its method has a logic already, {}", other.name)),
            })
            .map_err(|why| Error::new(Code::InvalidArgument, format!("local logic {}/{}: {why}", L::NAME, L::MAJOR)))?;
        let logic = Arc::new(logic);
        let start = move |switch, feeds: &mut Feeds| {
            let answerer = Answerer::start(Arc::clone(&logic), switch, feeds);
            let evaluator = Arc::clone(&answerer) as Arc<dyn Evaluator<L::Method>>;
            Running { evaluator: Box::new(evaluator), report: answerer }
        };
        self.registered.push(Registered { name: L::NAME, minor: L::MINOR, method, start: Arc::new(start) });
        Ok(())
    }

    /// Starts them. With any logic at all, this must be called inside of a Tokio runtime.
    pub fn start(self, wire: Arc<dyn Wire>) -> Locals {
        let mut feeds = Feeds::new(Line { wire, clock: Clock::new(), settings: Arc::new(self.settings.bounded()) });
        let (mut evaluators, mut reports, mut switches) = (HashMap::new(), Vec::new(), Vec::new());
        for logic in self.registered {
            let switch = Arc::new(Switch::default());
            switches.push((logic.name, logic.minor, Arc::clone(&switch)));
            let running = (logic.start)(switch, &mut feeds);
            evaluators.insert(logic.method, running.evaluator);
            reports.push(running.report);
        }
        Locals { evaluators, reports, feeds, switches: Switches(switches.into()) }
    }
}

fn check<L: LocalLogic>() -> Result<(), String> {
    let policy = <L::Method as Method>::POLICY;
    match policy.local_logic {
        None => return Err(format!("the policy of {} names no local logic", policy.path)),
        Some(named) if (named.name, named.major) != (L::NAME, L::MAJOR) => {
            return Err(format!("the policy of {} names {}/{}", policy.path, named.name, named.major));
        }
        Some(_) => {}
    }
    if !policy.reads() {
        return Err(format!("{} has side effects", policy.path));
    }
    if <L::Data as Source>::KEYED && policy.scope != crate::Scope::User {
        return Err(format!("{} has no user, and the logic looks at data of one", policy.path));
    }
    <L::Data as Source>::check()
}

/// The logics of a mesh, at work.
pub(crate) struct Locals {
    evaluators: HashMap<TypeId, Box<dyn Any + Send + Sync>>,
    reports: Vec<Arc<dyn LogicReport>>,
    feeds: Feeds,
    switches: Switches,
}

impl Locals {
    /// What answers a method.
    pub fn evaluator<M: Method>(&self) -> Option<Arc<dyn Evaluator<M>>> {
        self.evaluators.get(&TypeId::of::<M>())?.downcast_ref::<Arc<dyn Evaluator<M>>>().cloned()
    }

    /// What the mesh may switch.
    pub fn switches(&self) -> &Switches {
        &self.switches
    }

    /// What is known of them.
    pub fn stats(&self) -> LocalStats {
        LocalStats { logics: self.reports.iter().map(|logic| logic.stats()).collect(), feeds: self.feeds.stats() }
    }

    /// Switches logics of this name on again; how many there are.
    pub fn enable(&self, name: &str) -> usize {
        let named = self.reports.iter().filter(|logic| logic.stats().name == name);
        named.inspect(|logic| logic.switch().enable()).count()
    }
}

/// The switches of all logics, for whoever hears of restrictions. Holds nothing else of them; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Switches(Arc<[(&'static str, u32, Arc<Switch>)]>);

impl Switches {
    /// Puts the restrictions in force, all of them.
    pub fn restrict(&self, restrictions: &[LogicRestriction]) {
        for (logic, minor, switch) in self.0.iter() {
            if switch.restrict(logic, *minor, restrictions) {
                tracing::info!(logic, minor, state = ?switch.state(), "the mesh's restrictions of a local logic changed");
            }
        }
    }
}
