//! Everything this crate promises, on SQLite.

mod conformance;
mod group;
mod killed;
mod sqlite;
mod unknown;
