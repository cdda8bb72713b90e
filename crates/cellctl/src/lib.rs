//! cellctl
