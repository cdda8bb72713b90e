//! Everything this crate promises, on SQLite.

mod conformance;
mod sqlite;
mod unknown;
