//! Explicit-state models of the ownership protocol (`ownership.md`), checked by stateright.
//!
//! Databases are maps of rows, changed by nothing but the functions of [`cell_map::ownership`]; a step of a coordinator is
//! one transaction in one database, and between any two of them every other party may act. A coordinator may stop for
//! ever or wake up late anywhere, and a request it has sent may be carried out again at any later time.
//!
//! For each rule there is a switch, in the model only, that breaks it; a test demands that the checker then finds a
//! counterexample, so that no rule is there for nothing, and that the model is able to see it. With all rules on, another
//! test demands that there is none. The number of states is printed; `CELLMESH_SOAK=1` explores larger bounds.
//!
//! Covered: OWN-3, 4, 5, 8, 9, 11, 12, 14, 19 and the order of epochs. Not covered: OWN-6 (several databases in a cell),
//! OWN-7 (caches), OWN-10 beyond "a moving bucket mints nothing", OWN-15 (positions of tokens beyond their epoch), OWN-16 to
//! 18, a forced open after the loss of a source, more than one user at a time, more than three cells.

mod model {
    pub mod publish;
    pub mod support;
    pub mod user_move;
}
