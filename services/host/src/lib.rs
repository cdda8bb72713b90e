//! cell-services
