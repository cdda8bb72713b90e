use super::*;
use cell_map::{BucketEpoch, CellId, CellState, Incarnation, MapDraft, RegionId, UserEpoch, UserKey};

fn id(name: &str) -> CellId {
    CellId::new(name).expect("a name")
}

/// Three cells, `a` in region `ra` and so on; `b` is nearer to `a` than `c`; `c` is the global cell.
fn draft() -> MapDraft {
    let mut draft = MapDraft::new(Incarnation::new(1));
    let region = |name: &str| RegionId::new(&format!("r{name}")).expect("a name");
    for name in ["a", "b", "c"] {
        draft.add_cell(Cell::new(id(name), region(name))).expect("a new cell");
    }
    for (x, y, ms) in [("a", "b", 10), ("a", "c", 20), ("b", "c", 30)] {
        draft.set_distance(&region(x), &region(y), Duration::from_millis(ms)).expect("a distance");
    }
    draft.set_global_cell(&id("c")).spread_buckets().expect("cells have weight");
    draft
}

struct Case {
    map: CellMap,
    dead: Vec<CellIndex>,
}

impl Case {
    fn new(draft: &MapDraft) -> Self {
        Self { map: draft.clone().build().expect("a valid map"), dead: Vec::new() }
    }

    fn at(&self, name: &str) -> CellIndex {
        self.map.index_of(&id(name)).expect("a cell of the map")
    }

    /// A key at home in this cell.
    fn key(&self, name: &str) -> String {
        let mut keys = (1..).map(|n| format!("user-{n}"));
        keys.find(|key| self.map.home_index(key.as_bytes()) == self.at(name)).expect("every cell has buckets")
    }

    fn ask(&self, scope: Scope, key: Option<&str>, hops: u32, redirect: Option<&Redirect>) -> Decision {
        let reachable = |cell: CellIndex| !self.dead.contains(&cell);
        let (here, global) = (Some(self.at("a")), self.at("c"));
        let around = Surroundings { map: &self.map, here, global, reachable: &reachable };
        decide(Question { scope, key: key.map(str::as_bytes), hops, redirect }, around)
    }

    fn cell(&self, name: &str) -> Decision {
        Decision::Cell { cell: self.at(name), asked: OwnerEpochs::ZERO }
    }
}

const LOCAL: Decision = Decision::Local { asked: OwnerEpochs::ZERO };

fn epochs(user: u64, bucket: u64) -> OwnerEpochs {
    OwnerEpochs::new(UserEpoch::new(user), BucketEpoch::new(bucket))
}

#[test]
fn a_user_goes_home() {
    let case = Case::new(&draft());
    assert_eq!(case.ask(Scope::User, Some(&case.key("a")), 0, None), LOCAL);
    assert_eq!(case.ask(Scope::User, Some(&case.key("b")), 0, None), case.cell("b"));
    assert_eq!(case.ask(Scope::User, None, 0, None), Decision::Refuse(Refusal::NoKey));
}

#[test]
fn at_hop_one_the_local_service_answers_and_nothing_goes_further() {
    let case = Case::new(&draft());
    assert_eq!(case.ask(Scope::User, Some(&case.key("b")), 1, None), LOCAL);
    for scope in [Scope::Replicated, Scope::Local] {
        assert_eq!(case.ask(scope, None, 1, None), LOCAL);
    }
    assert_eq!(case.ask(Scope::Global, None, 1, None), Decision::Refuse(Refusal::TooManyHops));
    for scope in [Scope::User, Scope::Global, Scope::Replicated, Scope::Local] {
        assert_eq!(case.ask(scope, Some("user-1"), 2, None), Decision::Refuse(Refusal::TooManyHops));
    }
}

#[test]
fn a_pin_decides_and_brings_its_epoch() {
    let mut draft = draft();
    let key = Case::new(&draft).key("a");
    draft.pin(UserKey::from_text(&key).expect("a key"), &id("b"), UserEpoch::new(4)).expect("a pin");
    let case = Case::new(&draft);
    let pinned = Decision::Cell { cell: case.at("b"), asked: epochs(4, 0) };
    assert_eq!(case.ask(Scope::User, Some(&key), 0, None), pinned);
    let older = Redirect { cell: id("c"), epochs: epochs(3, 9) };
    assert_eq!(case.ask(Scope::User, Some(&key), 0, Some(&older)), pinned, "the map knows a higher epoch");
    let newer = Redirect { cell: id("c"), epochs: epochs(5, 1) };
    let learnt = Decision::Cell { cell: case.at("c"), asked: epochs(5, 1) };
    assert_eq!(case.ask(Scope::User, Some(&key), 0, Some(&newer)), learnt);
}

#[test]
fn a_redirect_for_a_moved_bucket_is_followed() {
    let case = Case::new(&draft());
    let (key, to) = (case.key("b"), Redirect { cell: id("a"), epochs: epochs(0, 2) });
    assert_eq!(case.ask(Scope::User, Some(&key), 0, Some(&to)), Decision::Local { asked: epochs(0, 2) });
    let unknown = Redirect { cell: id("z"), epochs: epochs(0, 2) };
    assert_eq!(case.ask(Scope::User, Some(&key), 0, Some(&unknown)), Decision::Refuse(Refusal::UnknownOwner));
}

#[test]
fn global_calls_go_to_the_global_cell() {
    let mut case = Case::new(&draft());
    assert_eq!(case.ask(Scope::Global, None, 0, None), case.cell("c"));
    case.dead.push(case.at("c"));
    assert_eq!(case.ask(Scope::Global, None, 0, None), case.cell("c"), "no other cell may write global data");
}

#[test]
fn local_and_replicated_calls_leave_a_cell_that_drains_or_has_no_instance() {
    for scope in [Scope::Replicated, Scope::Local] {
        let mut case = Case::new(&draft());
        assert_eq!(case.ask(scope, None, 0, None), LOCAL);
        case.dead.push(case.at("a"));
        assert_eq!(case.ask(scope, None, 0, None), case.cell("b"), "the nearest");
        case.dead.push(case.at("b"));
        assert_eq!(case.ask(scope, None, 0, None), case.cell("c"));
        case.dead.push(case.at("c"));
        assert_eq!(case.ask(scope, None, 0, None), LOCAL, "nowhere better to go");
        let mut draining = draft();
        draining.set_cell_state(&id("a"), CellState::Draining).expect("a cell");
        draining.set_cell_state(&id("b"), CellState::Draining).expect("a cell");
        assert_eq!(Case::new(&draining).ask(scope, None, 0, None), case.cell("c"));
    }
}

#[test]
fn users_stay_with_a_cell_that_drains() {
    let mut draining = draft();
    draining.set_cell_state(&id("b"), CellState::Draining).expect("a cell");
    let mut case = Case::new(&draining);
    case.dead.push(case.at("b"));
    assert_eq!(case.ask(Scope::User, Some(&case.key("b")), 0, None), case.cell("b"), "a dead cell is not taken over");
}
