//! The conformance suite over SQLite.

storage::conformance_suite!(crate::sqlite::Files);
