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
//! Covered: the order of epochs, OWN-3, 4, 5, 8 (what is answered, one crossing), 9 (the flag), 11, 12, 14, 19. Not covered:
//! OWN-6 (several databases in a cell), 7 (caches), 9's replay buffer and long streams, 10 beyond "a moving bucket mints
//! nothing", 13, 15 (a token's position; its epoch is), 16 to 18, forced opens after the loss of a source, maps of other
//! incarnations, two users at once, more than three cells. Steps that one model takes at once are split up in another:
//! `user_move` has the coordinators, `fence` the clients' transactions, `publish` the buckets, `resend` the routers.

mod model {
    pub mod fence;
    pub mod publish;
    pub mod resend;
    pub mod steps;
    pub mod support;
    pub mod user_move;
}
