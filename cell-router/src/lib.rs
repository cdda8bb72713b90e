//! cell-router
