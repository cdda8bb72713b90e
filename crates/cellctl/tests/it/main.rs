//! The link as a network would see it, and the demo as its user does.

mod demo;
mod link;
